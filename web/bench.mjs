// One measurement in a fresh Chromium: `node bench.mjs JOB`, a job as `xtask/src/bench/web.rs` writes it, prints JSON.
import { readdirSync, readFileSync, writeFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { argv, platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';

import { chromium } from 'playwright-core';

import { serve } from './serve.mjs';

const { engine, model, channels, side, gpu, threads, runs, ort, target } = JSON.parse(argv[2]);
const dist = fileURLToPath(new URL('./vaekit/dist', import.meta.url));
const latents = side / 8;
const shape = [1, channels, latents, latents];

const page = join(target, 'bench-page');
mkdirSync(page, { recursive: true });
writeFileSync(join(page, 'index.html'), '<!doctype html><title>bench</title>');
// The modules without threads are for pages that are not isolated.
const gpuFlags = gpu === 'swiftshader' ? ['--use-webgpu-adapter=swiftshader'] : ['--enable-features=Vulkan'];
const server = await serve({ '': page, package: dist, ort, model }, { isolated: threads > 1 });
const launched = await chromium.launchServer({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    ...['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update'],
    ...(gpu ? ['--enable-unsafe-webgpu', ...gpuFlags] : []),
  ],
});
const browser = await chromium.connect(launched.wsEndpoint());
const tab = await browser.newPage();
await tab.goto(server.url);
const measured = await tab.evaluate(engine === 'vaekit' ? vaekit : onnxruntime, { shape, gpu, threads, runs });
const peakMemoryBytes = peak(launched.process().pid);
await browser.close();
await launched.close();
await server.close();

const code = server.files().filter((file) => !file.startsWith(model) && !file.startsWith(page));
const brotli = (file) => brotliCompressSync(readFileSync(file), { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }).length;
const sum = (size) => code.reduce((bytes, file) => bytes + size(file), 0);
console.log(
  JSON.stringify({ ...measured, peakMemoryBytes, codeBytes: sum((file) => readFileSync(file).length), brotliBytes: sum(brotli) }),
);

/** In the page. Noise is the same for both. */
async function vaekit({ shape, gpu, threads, runs }) {
  const begin = performance.now();
  const { Vae } = await import('/package/index.js');
  const vae = await Vae.load('/model/', { engine: gpu ? 'webgpu' : 'cpu', threads, halves: ['decoder'] });
  const opened = performance.now();
  const data = Float32Array.from({ length: shape.reduce((n, side) => n * side) }, (_, i) => Math.sin(i * 12.9898) * 1.7);
  const decode = () => vae.decode({ data, shape, domain: vae.info.latents.native });
  await decode();
  const first = performance.now();
  const seconds = [];
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    await decode();
    seconds.push((performance.now() - start) / 1000);
  }
  return { openSeconds: (opened - begin) / 1000, firstSeconds: (first - begin) / 1000, seconds, detail: vae.info.engine.detail };
}

/** In the page: what a developer without vaekit would write. */
async function onnxruntime({ shape, gpu, threads, runs }) {
  const begin = performance.now();
  const ort = await import(gpu ? '/ort/ort.webgpu.min.mjs' : '/ort/ort.wasm.min.mjs');
  ort.env.wasm.wasmPaths = '/ort/';
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create('/model/vae_decoder/model.onnx', { executionProviders: [gpu ? 'webgpu' : 'wasm'] });
  const opened = performance.now();
  const data = Float32Array.from({ length: shape.reduce((n, side) => n * side) }, (_, i) => Math.sin(i * 12.9898) * 1.7);
  const decode = async () => {
    const { sample } = await session.run({ latent_sample: new ort.Tensor('float32', data, shape) });
    if (!Number.isFinite(sample.data[0])) throw new Error('the picture is not finite');
    sample.dispose();
  };
  await decode();
  const first = performance.now();
  const seconds = [];
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    await decode();
    seconds.push((performance.now() - start) / 1000);
  }
  const detail = `onnxruntime-web ${ort.env.versions.web}, ${gpu ? 'WebGPU' : `${ort.env.wasm.numThreads} threads`}`;
  return { openSeconds: (opened - begin) / 1000, firstSeconds: (first - begin) / 1000, seconds, detail };
}

/** The largest memory of a renderer among the browser's processes, where the system tells. */
function peak(root) {
  if (platform !== 'linux') return null;
  const parents = new Map();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const field = (name) => Number(status.match(new RegExp(`^${name}:\\s*(\\d+)`, 'm'))?.[1]);
      parents.set(Number(pid), { parent: field('PPid'), peak: field('VmHWM') * 1024, pid });
    } catch {
      // It has ended.
    }
  }
  const isChild = (pid) => pid === root || (parents.has(pid) && isChild(parents.get(pid).parent));
  const renderers = [...parents].filter(
    ([pid]) => isChild(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--type=renderer'),
  );
  return Math.max(...renderers.map(([, { peak }]) => peak));
}
