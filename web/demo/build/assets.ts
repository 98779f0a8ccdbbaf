import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Plugin } from 'vite';

/** What the page has of `models/`, by the address that it asks for. */
const FILES = {
  'starter/diffusion_pytorch_model.safetensors': 'starter/diffusion_pytorch_model.safetensors',
  'samples/astronaut.png': 'samples/astronaut.png',
} as const;

/** Publishes the starter VAE and the sample photograph beside the page, and tells it what it has to know beforehand. */
export function assets(models: string): Plugin {
  const read = (path: string): Buffer => readFileSync(join(models, path));
  return {
    name: 'vaekit-assets',
    config: () => ({
      define: {
        __STARTER_BYTES__: String(read('starter/diffusion_pytorch_model.safetensors').byteLength),
        __STARTER_CONFIG__: read('starter/config.json').toString(),
      },
    }),
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const path = FILES[request.url?.slice(1) as keyof typeof FILES];
        if (path) response.end(read(path));
        else next();
      });
    },
    generateBundle() {
      for (const [fileName, path] of Object.entries(FILES)) this.emitFile({ type: 'asset', fileName, source: read(path) });
    },
  };
}
