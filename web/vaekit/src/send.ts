import { VaekitError } from './errors.js';
import type { CheckpointOptions, SentImage, SentSource } from './messages.js';
import type { ImageInput, Latents, Source } from './types.js';

/** A source as a worker takes it. */
export function sendSource(source: Source): SentSource {
  if (typeof source === 'string' || source instanceof URL) {
    return { url: new URL(source, globalThis.document?.baseURI ?? globalThis.location.href).href };
  }
  const given = source instanceof Blob ? [source] : (source ?? {});
  const entries = Array.isArray(given) ? given.map((file): [string, Blob] => [pathOf(file), file]) : Object.entries(given);
  const files = new Map<string, Blob>();
  for (const [path, blob] of entries.map(([path, blob]): [string, Blob] => [normal(path), blob])) {
    if (!(blob instanceof Blob)) throw new VaekitError('bad-input', `${path} is ${typeof blob}, expected a File or a Blob`);
    if (files.has(path)) {
      const example = "{ 'vae_encoder/model.onnx': file, 'vae_decoder/model.onnx': file }";
      throw new VaekitError('bad-input', `two of the files are called ${path}; hand over an object of files by path: ${example}`);
    }
    files.set(path, blob);
  }
  return { files };
}

/** Files out of a folder that was dropped, rather than picked, know their names alone. */
function pathOf(blob: Blob): string {
  return blob instanceof File ? blob.webkitRelativePath || blob.name : 'checkpoint';
}

const normal = (path: string): string => path.replaceAll('\\', '/').replace(/^(\.?\/)+/, '');

/** Options of a checkpoint as the wasm module takes them. */
export function sendCheckpoint(options: { name?: string; config?: object; scaling?: string }): CheckpointOptions {
  const { name, config, scaling } = options;
  return {
    ...(name !== undefined && { name }),
    ...(config !== undefined && { config: JSON.stringify(config) }),
    ...(scaling !== undefined && { scaling }),
  };
}

/**
 * Latents as the worker takes them; `domain` outweighs theirs.
 *
 * @throws VaekitError for what only a program without types hands over
 */
export function checkLatents({ data, shape, domain: own }: Latents, domain = own): Latents {
  const refuse = (what: string, found: unknown, expected: string): never => {
    throw new VaekitError('bad-input', `the latents' ${what} is ${found}, expected ${expected}`);
  };
  if (!(data instanceof Float32Array)) refuse('data', Object.prototype.toString.call(data).slice(8, -1), 'a Float32Array');
  const isShape = shape?.length === 4 && [...shape].every((side) => Number.isInteger(side) && side > 0);
  if (!isShape) refuse('shape', JSON.stringify(shape), '[1, C, h, w]');
  if (domain !== 'raw' && domain !== 'scaled') refuse('domain', JSON.stringify(domain), '"raw" or "scaled"');
  return { data, shape, domain };
}

/** A picture that can be handed over without taking it from the caller. */
export async function sendImage(image: ImageInput): Promise<{ image: SentImage; transfer: Transferable[] }> {
  if (image instanceof ImageData || image instanceof Blob) return { image, transfer: [] };
  try {
    const bitmap = await createImageBitmap(image, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
    return { image: bitmap, transfer: [bitmap] };
  } catch (error) {
    throw new VaekitError('bad-input', `the picture cannot be used: ${error instanceof Error ? error.message : error}`);
  }
}
