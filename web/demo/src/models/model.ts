import type { Source } from 'vaekit';

import type { Work } from '../parts/job';

/** Files by path, as a model folder has them; a lone checkpoint is one entry. */
export type Files = Map<string, Blob>;

/** A piece of a stream of bytes. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** What fetched files hold, by their paths; `known` where that was known before and checked. */
export type Hashes = Record<string, { sha256: string; known: boolean }>;

/** A VAE that the page can load. What is told of it anew makes another object. */
export interface Model {
  id: string;
  name: string;
  /** Where it came from, in words. */
  origin: string;
  bytes: number;
  /** diffusers' config.json, where it stood beside the weights. */
  config?: object;
  /** A family's name or `FACTOR[,SHIFT]`, where the person had to say it. */
  scaling?: string;
  /** Where it was fetched. */
  hashes?: Hashes;
  /** Ships with the page. */
  builtin?: boolean;
  /** Lies in this browser's storage. */
  kept: boolean;
  files(work: Work): Promise<Files>;
}

/** Paths that make a folder a model folder. */
const FOLDER = /(^|\/)(vaekit\.json|model\.onnx)$/;

export const isModelFolder = (paths: Iterable<string>): boolean => [...paths].some((path) => FOLDER.test(path));

/** What `Vae.load` takes. */
export function source(files: Files): Source {
  if (files.size > 1 && isModelFolder(files.keys())) return Object.fromEntries(files);
  const named = [...files].map(([path, blob]) => (blob instanceof File ? blob : new File([blob], basename(path))));
  return named.length === 1 ? named[0]! : named;
}

export const basename = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** The same name, size and content give the same id, so that a file dropped twice is one model. */
export const modelId = (name: string, bytes: number, ...content: string[]): string =>
  [name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, ''), bytes, ...content].join('-');
