import { VaekitError } from './errors.js';
import type { CheckpointOptions, SentImage, SentSource } from './messages.js';
import type { ImageInput, Source } from './types.js';

/** A source as a worker takes it. */
export function sendSource(source: Source): SentSource {
  if (typeof source === 'string' || source instanceof URL) {
    return { url: new URL(source, globalThis.document?.baseURI ?? globalThis.location.href).href };
  }
  if (source instanceof Blob) return { files: new Map([[pathOf(source), source]]) };
  const files = Array.isArray(source)
    ? new Map(source.map((file) => [pathOf(file), file as Blob]))
    : new Map(Object.entries(source).map(([path, blob]) => [normal(path), blob]));
  return { files };
}

function pathOf(blob: Blob): string {
  if (!(blob instanceof File)) return 'checkpoint';
  return normal(blob.webkitRelativePath || blob.name);
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
