import type { Work } from '../parts/job';
import { settings } from '../settings';
import { collect, fetchFile } from './fetch';
import { canKeep, keep } from './keep';
import { type Bytes, type Files, type Hashes, type Model, modelId } from './model';

/** A published VAE: the part of an entry of models/registry.toml that the page uses. */
export interface Entry {
  name: string;
  aliases: string[];
  summary: string;
  for: string[];
  family: string;
  scaling_factor?: number;
  shift_factor?: number;
  licence: string;
  gated?: boolean;
  repository: string;
  revision?: string;
  files: { path: string; size?: number; sha256?: string }[];
}

/** Families that vaekit runs; the registry knows more. */
const RUNS = new Set(['AutoencoderKL', 'AsymmetricAutoencoderKL', 'AutoencoderKLFlux2', 'AutoencoderTiny', 'TAEF2']);

/** Families that are quick even here. */
const TINY = new Set(['AutoencoderTiny', 'TAEF2']);

/** What can be fetched and run, the tiny ones first. */
export async function registry(): Promise<Entry[]> {
  const { default: entries } = await import('virtual:registry');
  const runs = entries.filter(({ family }) => RUNS.has(family));
  return [...runs.filter(({ family }) => TINY.has(family)), ...runs.filter(({ family }) => !TINY.has(family))];
}

/** Bytes to fetch, if all sizes of weights are known. */
export function downloadSize({ files }: Entry): number | undefined {
  const sizes = files.filter(({ path }) => !path.endsWith('.json')).map(({ size }) => size);
  return sizes.includes(undefined) ? undefined : sizes.reduce<number>((sum, size) => sum + size!, 0);
}

/** Where people read about an entry and accept its licence. */
export const pageOf = ({ repository }: Entry): string => `${settings.value.hub}/${repository}`;

export const matches = ({ name, aliases, summary, for: models }: Entry, query: string): boolean =>
  [name, summary, ...aliases, ...models].some((text) => text.toLowerCase().includes(query.trim().toLowerCase()));

/** Fetches an entry's files; they are kept in this browser where it can, else they last for this visit. */
export async function fetchEntry(entry: Entry, work: Work): Promise<Model> {
  const config = await fetchConfig(entry, work);
  const weights = entry.files.filter(({ path }) => !path.endsWith('.json'));
  const streams = new Map<string, ReadableStream<Bytes>>();
  const hashes: Hashes = {};
  let total = 0;
  for (const file of weights) {
    const expected = { ...(file.size !== undefined && { bytes: file.size }), ...(file.sha256 && { sha256: file.sha256 }) };
    const download = await fetchFile(address(entry, file.path), entry.name, work, expected, (sha256) => {
      hashes[file.path] = { sha256, known: file.sha256 !== undefined };
    });
    total += download.total;
    streams.set(file.path, download.body);
  }
  const model = {
    id: modelId(entry.name, total),
    name: entry.name,
    origin: `from ${new URL(settings.value.hub).host}`,
    bytes: total,
    hashes,
    ...(config ? { config } : scaling(entry)),
  };
  if (canKeep()) return keep(model, streams, work);
  const files: Files = new Map();
  for (const [path, stream] of streams) files.set(path, await collect(stream));
  return { ...model, kept: false, files: async () => files };
}

async function fetchConfig(entry: Entry, work: Work): Promise<object | undefined> {
  const file = entry.files.find(({ path }) => path.endsWith('config.json'));
  if (!file) return undefined;
  const { body } = await fetchFile(address(entry, file.path), `${entry.name}'s config.json`, work, {
    ...(file.sha256 && { sha256: file.sha256 }),
  });
  return JSON.parse(await (await collect(body)).text()) as object;
}

/** What a lone checkpoint does not say; tiny VAEs take scaled latents as they are. */
function scaling({ family, scaling_factor, shift_factor }: Entry): { scaling?: string } {
  if (scaling_factor === undefined || !family.endsWith('AutoencoderKL')) return {};
  return { scaling: shift_factor ? `${scaling_factor},${shift_factor}` : String(scaling_factor) };
}

const address = ({ repository, revision = 'main' }: Entry, path: string): string =>
  `${settings.value.hub.replace(/\/+$/, '')}/${repository}/resolve/${revision}/${path}`;
