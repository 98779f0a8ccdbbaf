// Browsers, and a page that uses the package as a stranger would: packed, and installed into an empty vite project.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { platform } from 'node:process';
import { fileURLToPath } from 'node:url';

import { chromium, firefox } from 'playwright-core';
import { build } from 'vite';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

export const root = at('../..');
export const dist = at('../vaekit/dist');
/** What tests leave. */
export const target = process.env.VAEKIT_TARGET ?? join(root, 'target', 'web');
/** The native program's model folder and answers, which `cargo xtask web test` makes. */
export const native = process.env.VAEKIT_NATIVE ?? join(target, 'native');

const ARGS = ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking'];

/** Debian's browsers, or those that CHROMIUM and FIREFOX name. */
export const launch = {
  chromium: (args = []) =>
    chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: [...ARGS, '--disable-component-update', '--disable-sync', ...args],
    }),
  firefox: () =>
    firefox.launch({ channel: 'moz-firefox', executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr' }),
};

const PAGE = `<!doctype html>
<title>vaekit</title>
<link rel="icon" href="data:,">
<script type="module">
  import * as vaekit from 'vaekit';
  window.vaekit = vaekit;
</script>
`;

/** Packs the package, installs it into an empty vite project, builds that, and gives the folder of the built page. */
export async function viteProject() {
  const project = join(target, 'vite-project');
  rmSync(project, { recursive: true, force: true });
  mkdirSync(project, { recursive: true });
  const npm = (arguments_, cwd) =>
    execFileSync('npm', arguments_, { cwd, encoding: 'utf8', shell: platform === 'win32', stdio: ['ignore', 'pipe', 'inherit'] });
  const [{ filename }] = JSON.parse(npm(['pack', '--json', '--pack-destination', project], at('../vaekit')));
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'empty', private: true, type: 'module' }));
  npm(['install', '--offline', '--no-audit', '--no-fund', '--loglevel=error', `./${filename}`], project);
  writeFileSync(join(project, 'index.html'), PAGE);
  await build({ root: project, configFile: false, logLevel: 'warn' });
  return join(project, 'dist');
}

/** A page that takes the package's files as they are. */
export function plainPage() {
  const folder = join(target, 'plain-page');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'index.html'), PAGE.replace("'vaekit'", "'/package/index.js'"));
  return folder;
}

/** Opens a page that has `window.vaekit`; `errors` gathers what the console and scripts complain of. */
export async function open(browser, url) {
  const page = await browser.newPage();
  const errors = [];
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(url);
  await page.waitForFunction(() => 'vaekit' in window);
  await page.addScriptTag({ path: at('in-page.js') });
  return { page, errors };
}
