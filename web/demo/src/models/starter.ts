import { collect, fetchFile } from './fetch';
import type { Model } from './model';

/** Published beside the page by build/assets.ts, which also fills in the constants. */
const WEIGHTS = 'starter/diffusion_pytorch_model.safetensors';

/** The small VAE that comes with the page. */
export const starter: Model = {
  id: 'starter',
  name: 'starter',
  origin: 'comes with this page',
  bytes: __STARTER_BYTES__,
  config: __STARTER_CONFIG__,
  builtin: true,
  kept: false,
  async files(work) {
    const { body } = await fetchFile(WEIGHTS, 'the starter VAE', work, { bytes: __STARTER_BYTES__ });
    return new Map([['starter.safetensors', new File([await collect(body)], 'starter.safetensors')]]);
  },
};
