// What the tests of the demo page share: the built page on a server, a hub on loopback, a tab with a fresh profile.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { serve } from '../serve.mjs';
import { root, target } from './support.mjs';

const demo = fileURLToPath(new URL('../demo', import.meta.url));

export const fixtures = join(root, 'tests', 'fixtures');

/** Builds the page as it is published. */
export const build = () => execFileSync('npm', ['run', '--silent', 'build'], { cwd: demo, shell: true, stdio: 'inherit' });

/** The built page, with the headers that threads need or without. */
export const servePage = (options) => serve({ '': join(demo, 'dist') }, options);

/** The same, whose service worker first runs a function. */
export function servePageAfter(prelude) {
  const folder = join(target, `demo-${prelude.name}`);
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(demo, 'dist'), folder, { recursive: true });
  const worker = join(folder, 'sw.js');
  writeFileSync(worker, `(${prelude})();\n${readFileSync(worker, 'utf8')}`);
  return serve({ '': folder });
}

/**
 * A hub of another origin, which allows every page to read: `files` by path give bytes, a status, `'stall'`, which sends
 * a little and then nothing, or `{ cut, resumes }`, half of which comes before the connection is lost, and the rest when it
 * is asked for if it `resumes`.
 */
export async function serveHub(files) {
  const server = createServer(({ url, method, headers: { range } }, response) => {
    const found = files[url.slice(1)] ?? 404;
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('access-control-allow-headers', 'range');
    if (method === 'OPTIONS') response.writeHead(204).end();
    else if (found.cut && range && found.resumes) {
      const rest = found.cut.subarray(Number(range.match(/^bytes=(\d+)-$/)[1]));
      response.writeHead(206, { 'content-length': rest.length }).end(rest);
    } else if (found.cut) {
      const half = found.cut.subarray(0, found.cut.length / 2);
      response.writeHead(200, { 'content-length': found.cut.length }).write(half, () => setTimeout(() => response.destroy(), 200));
    } else if (typeof found === 'number') response.writeHead(found).end();
    else if (found === 'stall') response.writeHead(200, { 'content-length': 10_000_000 }).write(Buffer.alloc(100_000));
    else response.writeHead(200, { 'content-length': found.length }).end(found);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => new Promise((done) => server.close(done) && server.closeAllConnections()),
  };
}

/** Nobody listens there: no test may reach the real hub. */
const NO_HUB = 'http://127.0.0.1:9';

/** A fresh profile on `url`; `done` fails if the page said an error meanwhile that does not begin with `forgives`. */
export async function visit(browser, url, { hub = NO_HUB, settings = {}, serviceWorker = true, reloads = true, forgives, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  context.setDefaultTimeout(30_000);
  await context.addInitScript(
    ({ settings, serviceWorker, reloads }) => {
      if (location.protocol !== 'http:') return;
      if (!localStorage.getItem('vaekit-settings')) localStorage.setItem('vaekit-settings', JSON.stringify(settings));
      if (!reloads) sessionStorage.setItem('vaekit-reloaded', 'yes');
      if (!serviceWorker) delete Navigator.prototype.serviceWorker;
    },
    { settings: { hub, ...settings }, serviceWorker, reloads },
  );
  const tab = await context.newPage();
  const errors = [];
  tab.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  tab.on('pageerror', (error) => errors.push(error.message));
  await tab.goto(url);
  await tab.waitForSelector('#roundtrip-source:not(:empty)', { state: 'attached' });
  return {
    tab,
    async done() {
      await context.close();
      const unforgiven = errors.filter((text) => forgives === undefined || !text.startsWith(forgives));
      if (unforgiven.length > 0) throw new Error(`the page said: ${unforgiven.join('\n')}`);
    },
  };
}

/** Leaves a picture of the tab in target/web. */
export async function shoot(tab, name, options = {}) {
  mkdirSync(target, { recursive: true });
  await tab.screenshot({ path: join(target, `demo-${name}.png`), ...options });
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
