// What the tests of the demo page share: a server for the built page, a hub on loopback, browsers.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium, firefox } from 'playwright-core';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

export const page = at('../demo/dist');
export const fixtures = at('../../tests/fixtures');
const shots = process.env.VAEKIT_TARGET ?? at('../../target/web');

/** Builds the page as it is published. */
export const build = () => execFileSync('npm', ['run', '--silent', 'build'], { cwd: at('../demo'), shell: true, stdio: 'inherit' });

const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/** A server on loopback that answers with `handler`; `close` ends it and its connections. */
async function listen(handler) {
  const server = createServer((request, response) => {
    Promise.resolve(handler(request, response)).catch((error) => response.destroy(error));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: async () => {
      server.closeAllConnections();
      if (server.listening) await new Promise((done) => server.close(done));
    },
  };
}

/** Serves the built page, with the headers that threads need or without. */
export const servePage = ({ isolated = true } = {}) =>
  listen(async ({ url }, response) => {
    const path = normalize(decodeURIComponent(new URL(url, 'http://page').pathname)).split(sep).join('/');
    try {
      const file = path.endsWith('/') ? `${path}index.html` : path;
      const body = await readFile(join(page, file));
      response.writeHead(200, {
        'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
        ...(isolated && {
          'cross-origin-opener-policy': 'same-origin',
          'cross-origin-embedder-policy': 'require-corp',
        }),
      });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });

/**
 * A hub of another origin, which allows every page to read: `files` by path give bytes, a status, or `'stall'`, which sends
 * a little and then nothing.
 */
export const serveHub = (files) =>
  listen(({ url }, response) => {
    const found = files[url.slice(1)] ?? 404;
    response.setHeader('access-control-allow-origin', '*');
    if (typeof found === 'number') response.writeHead(found).end();
    else if (found === 'stall') response.writeHead(200, { 'content-length': 10_000_000 }).write(Buffer.alloc(100_000));
    else response.writeHead(200, { 'content-length': found.length }).end(found);
  });

const BROWSERS = {
  chromium: () =>
    chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    }),
  // A Firefox that nobody patched, by WebDriver BiDi.
  firefox: () => firefox.launch({ channel: 'moz-firefox', executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr' }),
};

export const launch = (name) => BROWSERS[name]();

/** Nobody listens there: no test may reach the real hub. */
const NO_HUB = 'http://127.0.0.1:9';

/** A fresh profile on `url`; `done` fails if the page said an error meanwhile. */
export async function visit(browser, url, { hub = NO_HUB, serviceWorker = true, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  context.setDefaultTimeout(30_000);
  await context.addInitScript(
    ({ hub, serviceWorker }) => {
      if (location.protocol !== 'http:') return;
      if (!localStorage.getItem('vaekit-settings')) localStorage.setItem('vaekit-settings', JSON.stringify({ hub }));
      if (!serviceWorker) delete Navigator.prototype.serviceWorker;
    },
    { hub, serviceWorker },
  );
  const tab = await context.newPage();
  const errors = [];
  tab.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  tab.on('pageerror', (error) => errors.push(error.message));
  await tab.goto(url);
  await tab.waitForSelector('#roundtrip-source:not(:empty)', { state: 'attached' });
  return {
    tab,
    errors,
    async done() {
      await context.close();
      if (errors.length > 0) throw new Error(`the page said: ${errors.join('\n')}`);
    },
  };
}

/** Leaves a picture of the tab in target/web. */
export async function shoot(tab, name, options = {}) {
  mkdirSync(shots, { recursive: true });
  await tab.screenshot({ path: join(shots, `demo-${name}.png`), ...options });
}

/** One click, and the picture is back. */
export async function roundTrip(tab) {
  await tab.click('#run');
  await tab.waitForSelector('#roundtrip-stages:not([hidden])');
}

export const go = (tab, view) => tab.click(`nav a[href="#${view}"]`);

/** A figure by its name, as in `PSNR`. */
export const figure = (tab, list, name) =>
  tab.locator(`#${list} dt`, { hasText: name }).first().locator('xpath=following-sibling::dd[1]').innerText();
