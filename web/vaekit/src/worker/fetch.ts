import { VaekitError } from '../errors.js';
import type { Half } from '../types.js';

export type Report = (stage: string, done: number, total: number) => void;

/** The files that a URL names, by path. */
export async function fetchSource(url: string, halves: Half[] | undefined, report: Report): Promise<Map<string, Blob>> {
  const address = new URL(url);
  const name = decodeURIComponent(address.pathname.split('/').filter(Boolean).at(-1) ?? 'model');
  if (/\.(onnx|safetensors|ckpt|pt|pth|bin)$/i.test(name)) {
    return new Map([[name, await required(address, name, report)]]);
  }
  return fetchFolder(address, name, halves ?? ['encoder', 'decoder'], report);
}

/** A model folder; its manifest says which halves there are. */
async function fetchFolder(address: URL, name: string, halves: Half[], report: Report): Promise<Map<string, Blob>> {
  const folder = new URL(address);
  if (!folder.pathname.endsWith('/')) folder.pathname += '/';
  const at = (path: string): URL => {
    const url = new URL(path, folder);
    url.search = folder.search;
    return url;
  };
  const files = new Map<string, Blob>();
  const manifest = await optional(at('vaekit.json'), 'vaekit.json', report);
  const listed = manifest && (await paths(manifest));
  if (manifest) files.set(`${name}/vaekit.json`, manifest);
  for (const half of halves) {
    const model = `vae_${half}/model.onnx`;
    if (listed && !listed.has(model)) continue;
    const blob = await (listed ? required : optional)(at(model), model, report);
    if (!blob) continue;
    files.set(`${name}/${model}`, blob);
    // vaekit's models say all themselves.
    const config = listed ? undefined : await optional(at(`vae_${half}/config.json`), 'config.json', report);
    if (config) files.set(`${name}/vae_${half}/config.json`, config);
  }
  if (![...files.keys()].some((path) => path.endsWith('.onnx'))) {
    const wanted = halves.map((half) => `vae_${half}/model.onnx`).join(' or ');
    throw new VaekitError('bad-input', `${address.href} holds no model; expected ${wanted} below it, a .onnx file, or a checkpoint`);
  }
  return files;
}

/** The files that a manifest lists; the engine says what is wrong with one that cannot be read. */
async function paths(manifest: Blob): Promise<Set<string> | undefined> {
  try {
    const { files } = JSON.parse(await manifest.text()) as { files: { path: string }[] };
    return new Set(files.map(({ path }) => path));
  } catch {
    return undefined;
  }
}

async function required(url: URL, name: string, report: Report): Promise<Blob> {
  const response = await get(url);
  if (!response.ok) {
    throw new VaekitError('network', `${url.href} could not be fetched: ${response.status} ${response.statusText}`.trim());
  }
  return body(response, url, name, report);
}

async function optional(url: URL, name: string, report: Report): Promise<Blob | undefined> {
  const response = await get(url);
  // Hosts of single-page apps answer with the page for whatever they do not have.
  const isPage = response.headers.get('content-type')?.startsWith('text/html');
  if (response.ok && !isPage) return body(response, url, name, report);
  await response.body?.cancel();
  return undefined;
}

async function get(url: URL): Promise<Response> {
  try {
    return await fetch(url);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new VaekitError('network', `${url.href} could not be fetched: ${reason}`);
  }
}

/** A response as a `Blob`, which the browser may keep on disk. */
async function body(response: Response, url: URL, name: string, report: Report): Promise<Blob> {
  const total = Number(response.headers.get('content-length') ?? 0);
  let done = 0;
  const counter = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      done += chunk.length;
      report(`fetching ${name}`, done, Math.max(done, total));
      controller.enqueue(chunk);
    },
  });
  try {
    return await new Response(response.body?.pipeThrough(counter)).blob();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new VaekitError('network', `${url.href} broke off after ${done} bytes: ${reason}`);
  }
}
