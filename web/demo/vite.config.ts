import { fileURLToPath } from 'node:url';

import { defineConfig } from 'vite';

import { assets } from './build/assets.ts';
import { policy } from './build/policy.ts';
import { precache } from './build/precache.ts';
import { registry } from './build/registry.ts';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** What threads in wasm need. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

export default defineConfig({
  // The page may lie in any folder of a static host.
  base: './',
  plugins: [
    assets(at('../../models')),
    registry(at('../../models/registry.toml')),
    policy(),
    precache(at('./public')),
  ],
  server: { headers: isolation },
  preview: { headers: isolation },
  optimizeDeps: { exclude: ['vaekit'] },
  worker: { format: 'es' },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: { index: at('./index.html'), sw: at('./service-worker/main.ts') },
      output: { entryFileNames: ({ name }) => (name === 'sw' ? 'sw.js' : 'assets/[name]-[hash].js') },
    },
  },
});
