import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Plugin } from 'vite';

import { isEngineModule } from '../src/engine-modules.ts';

/**
 * Fills the service worker's list of files with what the build has made but engines, which are cached when they are first used,
 * and its version with a digest of them.
 */
export function precache(publicFolder: string): Plugin {
  return {
    name: 'vaekit-precache',
    enforce: 'post',
    generateBundle: {
      order: 'post',
      handler(_, bundle) {
        const hash = createHash('sha256');
        const files = new Set(['./']);
        for (const [name, output] of Object.entries(bundle)) {
          if (name === 'sw.js' || name.endsWith('.map')) continue;
          hash.update(name).update(output.type === 'chunk' ? output.code : output.source);
          if (name !== 'index.html' && !isEngineModule(name)) files.add(name);
        }
        for (const name of readdirSync(publicFolder)) {
          hash.update(name).update(readFileSync(join(publicFolder, name)));
          files.add(name);
        }
        const worker = bundle['sw.js'];
        if (worker?.type !== 'chunk') throw new Error('the build has made no sw.js');
        worker.code = worker.code
          .replace('__VERSION__', JSON.stringify(hash.digest('hex').slice(0, 12)))
          .replace('__FILES__', JSON.stringify([...files].sort()));
      },
    },
  };
}
