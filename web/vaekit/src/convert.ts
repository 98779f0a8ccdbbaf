import { Connection } from './connection.js';
import { VaekitError } from './errors.js';
import type { Entry } from './messages.js';
import { sendCheckpoint, sendSource } from './send.js';
import type { Options, Source } from './types.js';
import { zip } from './zip.js';

export interface ConvertOptions extends Options {
  /** diffusers' config.json, where the checkpoint alone does not say enough. */
  config?: object;
  /** How its latents are scaled: `sd1`, `sdxl`, `sd3`, `flux1` ..., or a factor and perhaps a shift. */
  scaling?: string;
  /** A name for the VAE, which its manifest keeps. */
  name?: string;
  /**
   * Numbers inside the graphs. Default: `fp32`. `fp16` halves the files; how large every activation gets is measured first,
   * and powers of two are folded into the weights where fp16 would overflow. What cannot be folded is an error.
   */
  precision?: 'fp32' | 'fp16';
}

/** A model folder: the same bytes as the native program writes. */
export interface ModelFolder {
  /** By path: `vae_decoder/model.onnx`, `vaekit.json` ... */
  files: Map<string, Blob>;
  /** All of them in one file, not compressed: weights do not shrink. */
  zip(): Blob;
}

/**
 * Converts a checkpoint to a folder of ONNX models.
 *
 * @throws VaekitError
 */
export async function convert(checkpoint: Source, options: ConvertOptions = {}): Promise<ModelFolder> {
  // A worker for this alone: its end stops the work at once and frees its memory.
  const connection = new Connection();
  try {
    const request = { source: sendSource(checkpoint), options: { ...sendCheckpoint(options), precision: options.precision ?? 'fp32' } };
    const entries: Entry[] = await connection.call('convert', request, options);
    return { files: new Map(entries.map(([path, content]) => [path, content])), zip: () => zip(entries) };
  } finally {
    connection.end(new VaekitError('other', 'the conversion is over'));
  }
}
