import { helper } from './connection.js';
import { checkLatents } from './send.js';
import type { Latents } from './types.js';
import type { Vae } from './vae.js';

/**
 * Latents as a file.
 *
 * `.safetensors` and `.latent` (ComfyUI's, raw latents only) say whether they are raw or scaled and, with `vae`, which VAE
 * made them; `.npy` says neither.
 *
 * @throws VaekitError
 */
export async function saveLatents(latents: Latents, format: 'safetensors' | 'latent' | 'npy', vae?: Vae): Promise<Blob> {
  const provenance = vae ? { vae: vae.info.id, engine: vae.info.engine.detail } : undefined;
  const bytes = await helper().call('saveLatents', {
    latents: checkLatents(latents),
    format: String(format),
    provenance: provenance ? JSON.stringify(provenance) : '',
  });
  return new Blob([bytes], { type: 'application/octet-stream' });
}

/**
 * The latents in a file: .safetensors, .latent, .npy, .npz.
 *
 * @throws VaekitError
 */
export async function readLatents(file: Blob): Promise<Latents & { provenance?: object }> {
  const { latents, provenance } = await helper().call('readLatents', file);
  return { ...latents, ...(provenance && { provenance }) };
}
