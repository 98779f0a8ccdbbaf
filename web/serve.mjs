// A server on loopback for built pages: `node serve.mjs FOLDER [--port N] [--not-isolated]`, or `serve(...)` from tests.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/** What threads in WebAssembly need. */
const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/**
 * Serves folders by the first part of the path; the one under '' takes the rest. `files` are those that were asked for.
 *
 * @param {Record<string, string>} folders
 */
export async function serve(folders, { port = 0, isolated = true } = {}) {
  const files = new Set();
  const server = createServer(async ({ url, method }, response) => {
    const headers = { 'Cache-Control': 'no-cache', ...(isolated && ISOLATION) };
    try {
      const path = decodeURIComponent(new URL(url, 'http://loopback').pathname);
      const file = await find(folders, path.endsWith('/') ? `${path}index.html` : path);
      const type = TYPES[extname(file.path)] ?? 'application/octet-stream';
      response.writeHead(200, { ...headers, 'Content-Type': type, 'Content-Length': file.size });
      files.add(file.path);
      if (method === 'HEAD') response.end();
      else createReadStream(file.path).pipe(response);
    } catch {
      response.writeHead(404, headers).end();
    }
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    files: () => [...files],
    close: () => new Promise((done) => server.close(done) && server.closeAllConnections()),
  };
}

async function find(folders, path) {
  const [, first, ...rest] = path.split('/');
  const [folder, inside] = first in folders ? [folders[first], rest.join('/')] : [folders[''], path];
  const root = resolve(folder ?? '/nowhere');
  const file = resolve(join(root, inside));
  if (!file.startsWith(root + sep)) throw new Error('outside');
  const { size } = await stat(file);
  return { path: file, size };
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { port: { type: 'string', default: '5173' }, 'not-isolated': { type: 'boolean', default: false } },
  });
  const options = { port: Number(values.port), isolated: !values['not-isolated'] };
  const { url } = await serve({ '': positionals[0] ?? '.' }, options);
  console.log(`serving ${positionals[0] ?? '.'} at ${url}; end with Ctrl-C`);
}
