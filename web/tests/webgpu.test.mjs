// WebGPU in Chromium, on the software adapter SwiftShader. Run by `cargo xtask web test`.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { serve } from '../serve.mjs';
import { dist, launch, native, open, packageAfter, plainPage, root, target } from './support.mjs';

/** On the [-1, 1] scale, f32 against the native engine: the project's level for whole models. */
const TOLERANCE = 1e-3;

const folders = { '': plainPage(), native, package: dist, models: join(root, 'models') };

describe('WebGPU', () => {
  let browser;
  let server;
  before(async () => {
    [browser, server] = await Promise.all([launch.swiftshader(), serve(folders)]);
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  test('by name it encodes and decodes as the native engine, and loads no other module', async () => {
    const { page, errors } = await open(browser, server.url);
    const found = await page.evaluate(async () => {
      const vae = await vaekit.Vae.load('/native/starter', { engine: 'webgpu' });
      const picture = await (await fetch('/native/piece.png')).blob();
      const expected = { latents: await npy('/native/piece-latents.npy'), image: await npy('/native/piece-image.npy') };
      const { latents } = await vae.encode(picture, { latents: 'raw' });
      const given = { ...expected.latents, domain: 'raw' };
      const decoded = await vae.decode(given);
      const again = await vae.decode(given);
      vae.dispose();
      return {
        latents: largest(latents.data, expected.latents.data),
        pixels: largest(decoded.pixels(), expected.image.data),
        again: largest(decoded.pixels(), again.pixels()),
        operations: decoded.operations,
        engine: vae.info.engine,
      };
    });
    assert.ok(found.latents <= TOLERANCE, `latents differ by ${found.latents}`);
    assert.ok(found.pixels <= TOLERANCE, `pixels differ by ${found.pixels}`);
    assert.equal(found.again, 0, 'two runs differ');
    assert.ok(found.operations > 1e8);
    assert.equal(found.engine.name, 'webgpu');
    assert.match(found.engine.adapter, /swiftshader/i);
    assert.deepEqual(found.engine.notices, []);
    const modules = server.files().filter((file) => file.endsWith('.wasm'));
    assert.deepEqual(modules, [join(dist, 'vaekit-webgpu.wasm')]);
    assert.deepEqual(errors, []);
    await page.close();
  });

  test('every kernel computes what its twin does', async () => {
    const { page } = await open(browser, server.url);
    const trials = await page.evaluate(() => vaekit.tryKernels());
    assert.ok(trials.length >= 40, `${trials.length} kernels were tried`);
    assert.deepEqual(trials.filter(({ wrong }) => wrong !== null), []);
    await page.close();
  });

  test('to a bitmap and to a canvas it gives the same picture', async () => {
    const { page } = await open(browser, server.url);
    const found = await page.evaluate(async () => {
      const vae = await vaekit.Vae.load('/native/starter', { engine: 'webgpu', halves: ['decoder'] });
      const latents = { ...(await npy('/native/piece-latents.npy')), domain: 'raw' };
      const cropTo = { width: 61, height: 50 };
      const { image } = await vae.decode(latents, { cropTo });
      const bitmap = await vae.decode(latents, { cropTo, output: 'ImageBitmap' });
      const canvas = document.body.appendChild(document.createElement('canvas'));
      await vae.decode(latents, { cropTo, canvas });
      const taken = document.createElement('canvas');
      taken.getContext('2d');
      return {
        bitmap: largest(pixelsOf(bitmap.image), image.data),
        canvas: largest(pixelsOf(canvas), image.data),
        size: [canvas.width, canvas.height],
        taken: await failure((async () => vae.decode(latents, { canvas: taken }))()),
      };
    });
    // Chromium without a GPU shows nothing of a WebGPU canvas: on a software adapter the picture is read back.
    assert.deepEqual([found.bitmap, found.canvas], [0, 0]);
    assert.deepEqual(found.size, [61, 50]);
    assert.equal(found.taken.kind, 'bad-input');
    await page.locator('canvas').screenshot({ path: join(target, 'webgpu-canvas.png') });
    await page.close();
  });

  test('cuts into tiles as the CPU engine does', async () => {
    const { page } = await open(browser, server.url);
    const found = await page.evaluate(async () => {
      const data = Float32Array.from({ length: 16 * 20 * 8 }, (_, i) => Math.sin(i * i));
      const decode = async (engine) => {
        const vae = await vaekit.Vae.load('/native/starter', { engine, halves: ['decoder'] });
        return vae.decode({ data, shape: [1, 16, 20, 8], domain: 'raw' }, { tiles: 128 });
      };
      const [gpu, cpu] = [await decode('webgpu'), await decode('cpu')];
      return { tiles: gpu.tiles, differs: largest(gpu.pixels(), cpu.pixels()) };
    });
    const { apart, ...tiles } = found.tiles;
    assert.deepEqual(tiles, { columns: 1, rows: 2, width: 8, height: 12, alone: false });
    assert.ok(apart === undefined || apart < 1, `${apart} deviations`);
    assert.ok(found.differs <= TOLERANCE, `pixels differ by ${found.differs}`);
    await page.close();
  });

  test('auto leaves a software adapter alone and says why', async () => {
    const { page } = await open(browser, server.url);
    const { engine } = await page.evaluate(async () => (await vaekit.Vae.load('/native/starter')).info);
    assert.equal(engine.name, 'cpu');
    assert.match(engine.notices.join(), /CPU engine instead of WebGPU: its adapter.*swiftshader.* is a program on the processor/i);
    await page.close();
  });

  test('cancels between two submissions, and runs on', async () => {
    const { page } = await open(browser, server.url);
    const found = await page.evaluate(async () => {
      const vae = await vaekit.Vae.load('/native/starter', { engine: 'webgpu', halves: ['decoder'] });
      const latents = { data: new Float32Array(16 * 64), shape: [1, 16, 8, 8], domain: 'raw' };
      const controller = new AbortController();
      const told = [];
      const onProgress = ({ stage, done, total }) => {
        told.push(done / total);
        if (stage === 'decoding' && done > 0) controller.abort();
      };
      const stopped = await failure(vae.decode(latents, { signal: controller.signal, onProgress }));
      const { image } = await vae.decode(latents);
      return { stopped, most: Math.max(...told), width: image.width, engine: vae.info.engine.name };
    });
    assert.equal(found.stopped.kind, 'cancelled');
    assert.ok(found.most < 0.95, `it went on to ${found.most}`);
    assert.deepEqual([found.width, found.engine], [64, 'webgpu']);
    await page.close();
  });

  for (const engine of ['webgpu', 'auto']) {
    const then = engine === 'auto' ? 'the CPU takes its place' : 'it is an error, after which it is opened again';
    test(`when the device is lost, ${then}: ${engine}`, async () => {
      const server = await serve({ ...folders, package: packageAfter(losingItsDevice) });
      const { page } = await open(browser, server.url);
      const found = await page.evaluate(async (engine) => {
        const vae = await vaekit.Vae.load('/native/starter', { engine, halves: ['decoder'] });
        const before = vae.info.engine.name;
        const given = { ...(await npy('/native/piece-latents.npy')), domain: 'raw' };
        const expected = await npy('/native/piece-image.npy');
        const decode = async () => largest((await vae.decode(given)).pixels(), expected.data);
        const first = await decode();
        new BroadcastChannel('device').postMessage('lose it');
        await new Promise((resolve) => setTimeout(resolve, 500));
        const second = engine === 'auto' ? await decode() : await failure(decode());
        return { before, first, second, third: await decode(), engine: vae.info.engine };
      }, engine);
      assert.equal(found.before, 'webgpu');
      assert.ok(found.first <= TOLERANCE && found.third <= TOLERANCE, JSON.stringify(found));
      if (engine === 'auto') {
        assert.ok(found.second <= TOLERANCE);
        assert.equal(found.engine.name, 'cpu');
        assert.match(found.engine.notices.join(), /CPU engine instead of WebGPU: .*lost/);
      } else {
        assert.equal(found.second.kind, 'engine');
        assert.match(found.second.message, /the device was lost/);
        assert.equal(found.engine.name, 'webgpu');
      }
      await page.close();
      await server.close();
    });
  }

  test('a GPU that has no memory left makes auto go on with the CPU', async () => {
    const server = await serve({ ...folders, package: packageAfter(withoutMemory) });
    const { page } = await open(browser, server.url);
    const { engine } = await page.evaluate(async () => (await vaekit.Vae.load('/native/starter')).info);
    assert.equal(engine.name, 'cpu');
    assert.match(engine.notices.join(), /CPU engine instead of WebGPU/);
    await page.close();
    await server.close();
  });
});

test('a picture that goes to a bitmap or a canvas never leaves the GPU', async () => {
  const [browser, server] = await Promise.all([
    launch.drawing(),
    serve({ ...folders, package: packageAfter(passingForReal) }),
  ]);
  const { page, errors } = await open(browser, server.url);
  const found = await page.evaluate(async () => {
    const vae = await vaekit.Vae.load('/native/starter', { halves: ['decoder'] });
    const latents = { ...(await npy('/native/piece-latents.npy')), domain: 'raw' };
    const cropTo = { width: 61, height: 50 };
    const { image } = await vae.decode(latents, { cropTo });
    const bitmap = await vae.decode(latents, { cropTo, output: 'ImageBitmap' });
    const canvas = document.body.appendChild(document.createElement('canvas'));
    const drawn = await vae.decode(latents, { cropTo, canvas });
    return {
      engine: vae.info.engine.name,
      bitmap: largest(pixelsOf(bitmap.image), image.data),
      canvas: largest(pixelsOf(canvas), image.data),
      size: [canvas.width, canvas.height],
      values: await Promise.all([bitmap, drawn].map(async (decoded) => failure((async () => decoded.pixels())()))),
    };
  });
  assert.equal(found.engine, 'webgpu');
  // The GPU rounds by itself.
  assert.ok(found.bitmap <= 1 && found.canvas <= 1, JSON.stringify(found));
  assert.deepEqual(found.size, [61, 50]);
  assert.ok(found.values.every(({ message }) => /never read back from the GPU/.test(message)));
  assert.deepEqual(errors, []);
  await page.locator('canvas').screenshot({ path: join(target, 'webgpu-canvas-on-gpu.png') });
  await browser.close();
  await server.close();
});

test('without WebGPU it is an error by name, and a notice for auto', async () => {
  const [browser, server] = await Promise.all([launch.firefox(), serve(folders)]);
  const { page } = await open(browser, server.url);
  const found = await page.evaluate(async () => ({
    refused: await failure(vaekit.Vae.load('/native/starter', { engine: 'webgpu' })),
    auto: (await vaekit.Vae.load('/native/starter')).info.engine,
  }));
  assert.equal(found.refused.kind, 'engine');
  assert.equal(found.auto.name, 'cpu');
  assert.match(found.auto.notices.join(), /instead of WebGPU: (this browser has none|it gives no adapter here)/);
  await browser.close();
  await server.close();
});

/** In the worker: the adapter passes for a real one. */
function passingForReal() {
  const info = { vendor: 'test', architecture: 'test', device: '', description: 'a test', isFallbackAdapter: false };
  Object.defineProperty(GPUAdapter.prototype, 'info', { get: () => info });
}

/** In the worker: the adapter passes for a real one, whose device is gone when somebody says so. */
function losingItsDevice() {
  const info = { vendor: 'test', architecture: 'test', device: '', description: 'a test', isFallbackAdapter: false };
  Object.defineProperty(GPUAdapter.prototype, 'info', { get: () => info });
  // A canvas would end WebGPU on this adapter.
  OffscreenCanvas.prototype.getContext = new Proxy(OffscreenCanvas.prototype.getContext, {
    apply: (target, canvas, [kind, ...rest]) => (kind === 'webgpu' ? null : Reflect.apply(target, canvas, [kind, ...rest])),
  });
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    const device = await requestDevice.call(this, descriptor);
    new BroadcastChannel('device').onmessage = () => device.destroy();
    return device;
  };
}

/** In the worker: the adapter passes for a real one, and every buffer is more than it has. */
function withoutMemory() {
  const info = { vendor: 'test', architecture: 'test', device: '', description: 'a test', isFallbackAdapter: false };
  Object.defineProperty(GPUAdapter.prototype, 'info', { get: () => info });
  const { createBuffer } = GPUDevice.prototype;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    return createBuffer.call(this, { ...descriptor, size: 2 ** 52 });
  };
}
