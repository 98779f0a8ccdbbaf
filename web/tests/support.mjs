// Browsers, and pages that use the package as a stranger would: packed, installed into an empty project, and bundled.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { chromium, firefox } from 'playwright-core';
import { build } from 'vite';
import webpack from 'webpack';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

export const root = at('../..');
export const dist = at('../vaekit/dist');
/** What tests leave. */
export const target = process.env.VAEKIT_TARGET ?? join(root, 'target', 'web');
/** The native program's model folder and answers, which `cargo xtask web test` makes. */
export const native = process.env.VAEKIT_NATIVE ?? join(target, 'native');

const ARGS = ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking'];

/** Debian's browsers, or those that CHROMIUM and FIREFOX name; `swiftshader` is Chromium with WebGPU on a software adapter, `drawing` one
 * that also shows what WebGPU draws on a canvas, since it puts its own pages together on Vulkan too. */
export const launch = {
  chromium: (args = []) =>
    chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: [...ARGS, '--disable-component-update', '--disable-sync', ...args],
    }),
  swiftshader: () => launch.chromium(['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader']),
  drawing: () =>
    launch.chromium([
      '--enable-unsafe-webgpu',
      '--use-webgpu-adapter=swiftshader',
      '--enable-features=Vulkan',
      '--use-vulkan=swiftshader',
      '--use-angle=swiftshader',
      '--disable-vulkan-surface',
    ]),
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

const SCRIPT = PAGE.match(/<script type="module">\n(.*)<\/script>/s)[1];

/** An empty project into which the package is installed as it would be published. */
export function emptyProject() {
  const project = join(target, 'empty-project');
  rmSync(project, { recursive: true, force: true });
  mkdirSync(project, { recursive: true });
  const npm = (arguments_, cwd) =>
    execFileSync('npm', arguments_, { cwd, encoding: 'utf8', shell: platform === 'win32', stdio: ['ignore', 'pipe', 'inherit'] });
  const [{ filename }] = JSON.parse(npm(['pack', '--json', '--pack-destination', project], at('../vaekit')));
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'empty', private: true, type: 'module' }));
  npm(['install', '--offline', '--no-audit', '--no-fund', '--loglevel=error', `./${filename}`], project);
  return project;
}

/** Builds a project's page with Vite, without any configuration, and gives the folder. */
export async function withVite(project) {
  writeFileSync(join(project, 'index.html'), PAGE);
  await build({ root: project, configFile: false, logLevel: 'warn' });
  return join(project, 'dist');
}

/** Builds a project's page with webpack 5, without any configuration but the entry, and gives the folder. */
export async function withWebpack(project) {
  const path = join(project, 'webpack');
  writeFileSync(join(project, 'main.js'), SCRIPT);
  const compiler = webpack({
    mode: 'production',
    context: project,
    entry: './main.js',
    output: { path },
    // The modules are larger than webpack likes.
    performance: { hints: false },
  });
  const stats = await promisify(compiler.run.bind(compiler))();
  if (stats.hasErrors() || stats.hasWarnings()) throw new Error(stats.toString('errors-warnings'));
  await promisify(compiler.close.bind(compiler))();
  writeFileSync(join(path, 'index.html'), PAGE.replace(/<script.*<\/script>/s, '<script src="main.js" defer></script>'));
  return path;
}

/** The package's files, whose worker first runs a function: for browsers that cannot be told to be another. */
export function packageAfter(prelude, ...values) {
  const folder = join(target, `package-${prelude.name}`);
  rmSync(folder, { recursive: true, force: true });
  cpSync(dist, folder, { recursive: true });
  const worker = join(folder, 'worker.js');
  writeFileSync(worker, `(${prelude})(...${JSON.stringify(values)});\n${readFileSync(worker, 'utf8')}`);
  return folder;
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
