import { existsSync, readFileSync } from 'node:fs';

import { parse } from 'smol-toml';
import type { Plugin } from 'vite';

const NAME = 'virtual:registry';

/** Makes models/registry.toml importable as `virtual:registry`, a chunk of its own that is loaded when it is looked at. */
export function registry(path: string): Plugin {
  return {
    name: 'vaekit-registry',
    resolveId: (id) => (id === NAME ? `\0${NAME}` : undefined),
    load(id) {
      if (id !== `\0${NAME}`) return undefined;
      this.addWatchFile(path);
      const entries = existsSync(path) ? parse(readFileSync(path, 'utf8')).vae : [];
      return `export default ${JSON.stringify(entries)}`;
    },
  };
}
