// WebGPU in Chromium, on the software adapter SwiftShader. Run by `cargo xtask web test`.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { serve } from '../serve.mjs';
import { dist, launch, native, open, packageAfter, plainPage, root, target } from './support.mjs';

/** On the [-1, 1] scale, f32 against the native engine: the project's level for whole models. */
const TOLERANCE = 1e-3;

/** Of the tiny models against PyTorch. */
const FIXTURE_TOLERANCE = 1e-4;

/** FLUX.2's tiny autoencoder with its real weights, where they lie beside the project. */
const TAEF2 = join(root, '..', 'shared', 'models', 'taef2');
const DIFFUSERS = ['diffusion_pytorch_model.safetensors', 'config.json'];
/** One of each family that there are answers of PyTorch's for. */
const FIXTURES = [
  ...['kl-diffusers', 'flux1-like', 'tae-diffusers'].map((name) => ({ name, folder: `fixtures/${name}`, files: DIFFUSERS })),
  { name: 'taef2', folder: 'taef2', files: ['taef2_encoder.pth', 'taef2_decoder.pth'], skip: !existsSync(TAEF2) },
];

const folders = {
  '': plainPage(),
  native,
  package: dist,
  models: join(root, 'models'),
  fixtures: join(root, 'tests', 'fixtures'),
  taef2: TAEF2,
};

/** Of two tests that run at once. */
const losing = packageAfter(losingItsDevice);

/** A page of the package in `folder`, in a browser and on a server of its own. */
async function alone(t, { folder = dist, launched = 'swiftshader', ...options } = {}) {
  const [browser, server] = await Promise.all([launch[launched](), serve({ ...folders, package: folder }, options)]);
  t.after(() => Promise.all([browser.close(), server.close()]));
  return { ...(await open(browser, server.url)), files: server.files };
}

// Two at a time: nearly all of it is compiling kernels, which a browser does on one thread.
describe('WebGPU', { concurrency: 2 }, () => {
  test('by name it encodes and decodes as the native engine, and loads no other module', async (t) => {
    const { page, errors, files } = await alone(t);
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
    const modules = files().filter((file) => file.endsWith('.wasm'));
    assert.deepEqual(modules, [join(dist, 'vaekit-webgpu.wasm')]);
    assert.deepEqual(errors, []);
  });

  test('every kernel computes what its twin does', async (t) => {
    const { page } = await alone(t);
    const trials = await page.evaluate(() => vaekit.tryKernels());
    assert.ok(trials.length >= 40, `${trials.length} kernels were tried`);
    assert.deepEqual(trials.filter(({ wrong }) => wrong !== null), []);
  });

  for (const { name, folder, files, skip = false } of FIXTURES) {
    test(`${name} decodes as PyTorch does, and encodes as the CPU engine`, { skip }, async (t) => {
      const { page } = await alone(t);
      const found = await page.evaluate(
        async ([folder, names]) => {
          const files = await Promise.all(names.map((name) => file(`/${folder}/${name}`)));
          const [gpu, cpu] = [await vaekit.Vae.load(files, { engine: 'webgpu' }), await vaekit.Vae.load(files, { engine: 'cpu' })];
          const { latent, decoded, decoded_01: unsigned } = await tensors(`/${folder}/expect.safetensors`);
          const expected = decoded ?? { data: unsigned.data.map((value) => 2 * value - 1) };
          const [count, ...shape] = latent.shape;
          const domain = gpu.info.latents.native;
          const differ = [];
          for (let i = 0; i < count; i++) {
            const part = ({ data }) => data.subarray((i * data.length) / count, ((i + 1) * data.length) / count);
            const { pixels } = await gpu.decode({ data: part(latent).slice(), shape: [1, ...shape], domain });
            differ.push(largest(pixels(), part(expected)));
          }
          const picture = new ImageData(56, 40);
          picture.data.forEach((_, i, data) => (data[i] = 128 + 127 * Math.sin(i * i)));
          const [ours, theirs] = [await gpu.encode(picture), await cpu.encode(picture)];
          return { differ, encoded: largest(ours.latents.data, theirs.latents.data) };
        },
        [folder, files],
      );
      assert.ok(Math.max(...found.differ, found.encoded) <= FIXTURE_TOLERANCE, JSON.stringify(found));
    });
  }

  test('one VAE on it', async (t) => {
    const { page } = await alone(t);
    await page.evaluate(async () => {
      globalThis.vae = await vaekit.Vae.load('/native/starter', { engine: 'webgpu', halves: ['decoder'] });
    });

    await t.test('to a bitmap and to a canvas it gives the same picture', async () => {
      const found = await page.evaluate(async () => {
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
    });

    await t.test('cuts into tiles as the CPU engine does', async () => {
      const found = await page.evaluate(async () => {
        const data = Float32Array.from({ length: 16 * 20 * 8 }, (_, i) => Math.sin(i * i));
        const decode = (vae) => vae.decode({ data, shape: [1, 16, 20, 8], domain: 'raw' }, { tiles: 128 });
        const gpu = await decode(vae);
        const cpu = await decode(await vaekit.Vae.load('/native/starter', { engine: 'cpu', halves: ['decoder'] }));
        return { tiles: gpu.tiles, differs: largest(gpu.pixels(), cpu.pixels()) };
      });
      const { apart, ...tiles } = found.tiles;
      assert.deepEqual(tiles, { columns: 1, rows: 2, width: 8, height: 12, alone: false });
      assert.ok(apart === undefined || apart < 1, `${apart} deviations`);
      assert.ok(found.differs <= TOLERANCE, `pixels differ by ${found.differs}`);
    });

    await t.test('cancels between two submissions, and runs on', async () => {
      const found = await page.evaluate(async () => {
        const latents = { data: new Float32Array(16 * 64), shape: [1, 16, 8, 8], domain: 'raw' };
        const { stopped, most } = await cancelled(vae, latents);
        const { image } = await vae.decode(latents);
        return { stopped, most, width: image.width, engine: vae.info.engine.name };
      });
      assert.equal(found.stopped.kind, 'cancelled');
      assert.ok(found.most < 0.95, `it went on to ${found.most}`);
      assert.deepEqual([found.width, found.engine], [64, 'webgpu']);
    });
  });

  test('auto leaves a software adapter alone and says why', async (t) => {
    const { page } = await alone(t);
    const { engine } = await page.evaluate(async () => (await vaekit.Vae.load('/native/starter')).info);
    assert.equal(engine.name, 'cpu');
    assert.match(engine.notices.join(), /CPU engine instead of WebGPU: its adapter.*swiftshader.* is a program on the processor/i);
  });

  test('when the device is lost, it is an error by name, after which it is opened again', async (t) => {
    const { page } = await alone(t, { folder: losing });
    const found = await page.evaluate(async () => {
      const vae = await vaekit.Vae.load('/native/starter', { engine: 'webgpu', halves: ['decoder'] });
      const given = { ...(await npy('/native/piece-latents.npy')), domain: 'raw' };
      const expected = await npy('/native/piece-image.npy');
      const decode = async () => largest((await vae.decode(given)).pixels(), expected.data);
      const first = await decode();
      await loseTheDevice();
      return { first, lost: await failure(decode()), then: await decode(), engine: vae.info.engine.name };
    });
    assert.ok(found.first <= TOLERANCE && found.then <= TOLERANCE, JSON.stringify(found));
    assert.equal(found.lost.kind, 'engine');
    assert.match(found.lost.message, /the device was lost/);
    assert.equal(found.engine, 'webgpu');
  });

  test('auto takes a GPU whatever the threads, keeps one that is not to blame, and goes on with the CPU when it is lost', async (t) => {
    const { page } = await alone(t, { folder: losing, isolated: false });
    const found = await page.evaluate(async () => {
      const vae = await vaekit.Vae.load('/native/starter', { halves: ['decoder'], threads: 2 });
      const latents = (value, side = 8) => ({ data: new Float32Array(16 * side * side).fill(value), shape: [1, 16, side, side], domain: 'raw' });
      const refused = [
        await failure(vae.decode(latents(NaN))),
        await failure(vae.decode(latents(NaN), { output: 'ImageBitmap' })),
        await failure(vae.decode(latents(0, 512), { tiles: 'never' })),
      ];
      const before = vae.info.engine.name;
      await loseTheDevice();
      const given = { ...(await npy('/native/piece-latents.npy')), domain: 'raw' };
      const expected = await npy('/native/piece-image.npy');
      const differs = largest((await vae.decode(given)).pixels(), expected.data);
      const byName = await failure(vaekit.Vae.load('/native/starter', { engine: 'webgpu', threads: 2 }));
      return { refused, before, differs, after: vae.info.engine, byName };
    });
    assert.deepEqual(found.refused.map(({ kind }) => kind), ['bad-input', 'bad-input', 'out-of-memory']);
    assert.match(found.refused[0].message, /its input held NaN or infinite values already/);
    assert.equal(found.before, 'webgpu');
    assert.ok(found.differs <= TOLERANCE, `pixels differ by ${found.differs}`);
    assert.deepEqual([found.after.name, found.after.threads], ['cpu', 1]);
    assert.match(found.after.notices.join(), /CPU engine instead of WebGPU: .*lost/);
    assert.match(found.after.notices.join(), /one thread: the page is not cross-origin isolated/);
    assert.match(found.byName.message, /WebGPU has one thread in a browser, and 2 were asked for/);
  });

  test('with little memory it runs in f16 where the model is known to stay in its range, else in tiles, and frees what fails', async (t) => {
    const { page } = await alone(t, { folder: packageAfter(withMemory) });
    const found = await page.evaluate(async () => {
      const latents = (height, width) => {
        const data = Float32Array.from({ length: 16 * height * width }, (_, i) => Math.sin(i * i));
        return { data, shape: [1, 16, height, width], domain: 'raw' };
      };
      const found = {};
      for (const model of ['starter', 'starter-fp16']) {
        const vae = await vaekit.Vae.load(`/native/${model}`, { engine: 'webgpu', halves: ['decoder'] });
        const whole = await vae.decode(latents(64, 4));
        const { live: large } = await memory();
        await vae.decode(latents(2, 2));
        const { live: small } = await memory();
        // Enough for images of half the size.
        await memory(large - 0.4 * (large - small));
        const never = await vae.decode(latents(64, 4), { tiles: 'never' }).then(
          ({ tiles }) => ({ tiles }),
          ({ kind }) => ({ kind }),
        );
        const { live: left } = await memory();
        const little = await vae.decode(latents(64, 4));
        await memory(Infinity);
        found[model] = { large, small, left, never, tiles: little.tiles, differs: largest(little.pixels(), whole.pixels()) };
        vae.dispose();
      }
      return found;

      /** Sets how many bytes there are, and says how many are live. */
      function memory(limit) {
        return new Promise((resolve) => {
          const channel = new BroadcastChannel('memory');
          channel.onmessage = ({ data }) => {
            channel.close();
            resolve(data);
          };
          channel.postMessage({ limit });
        });
      }
    });
    const { starter, 'starter-fp16': half } = found;
    assert.ok(starter.small < starter.large && half.small < half.large, JSON.stringify(found));
    assert.equal(starter.never.kind, 'out-of-memory');
    assert.ok(starter.left <= starter.small, 'what failed is still held');
    assert.ok(starter.tiles, 'it did not go in tiles');
    assert.deepEqual([half.never.kind, half.tiles], [undefined, undefined]);
    assert.ok(half.differs > 0 && half.differs < 0.05, `in f16 pixels differ by ${half.differs}`);
  });

  test('a GPU that has no memory left makes auto go on with the CPU', async (t) => {
    const { page } = await alone(t, { folder: packageAfter(withoutMemory) });
    const { engine } = await page.evaluate(async () => (await vaekit.Vae.load('/native/starter')).info);
    assert.equal(engine.name, 'cpu');
    assert.match(engine.notices.join(), /CPU engine instead of WebGPU/);
  });

  test('a picture that goes to a bitmap or a canvas never leaves the GPU', async (t) => {
    const { page, errors } = await alone(t, { folder: packageAfter(passingForReal), launched: 'drawing' });
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
  });

  test('a canvas that fails is no reason to leave the GPU', async (t) => {
    const { page, errors } = await alone(t, { folder: packageAfter(drawingOnce), launched: 'drawing' });
    const found = await page.evaluate(async () => {
      const vae = await vaekit.Vae.load('/native/starter', { halves: ['decoder'] });
      const latents = { ...(await npy('/native/piece-latents.npy')), domain: 'raw' };
      const { image } = await vae.decode(latents);
      const decode = async () => largest(pixelsOf((await vae.decode(latents, { output: 'ImageBitmap' })).image), image.data);
      return { first: await decode(), second: await decode(), engine: vae.info.engine.name };
    });
    assert.deepEqual(found, { first: 0, second: 0, engine: 'webgpu' });
    assert.deepEqual(errors, []);
  });

  test('without WebGPU it is an error by name, and a notice for auto', async (t) => {
    const { page } = await alone(t, { launched: 'firefox' });
    const found = await page.evaluate(async () => ({
      refused: await failure(vaekit.Vae.load('/native/starter', { engine: 'webgpu' })),
      auto: (await vaekit.Vae.load('/native/starter')).info.engine,
    }));
    assert.equal(found.refused.kind, 'engine');
    assert.equal(found.auto.name, 'cpu');
    assert.match(found.auto.notices.join(), /instead of WebGPU: (this browser has none|it gives no adapter here)/);
  });
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

/** In the worker: as much memory as somebody says, of which every live buffer takes its part. */
function withMemory() {
  let [limit, live] = [Infinity, 0];
  const channel = new BroadcastChannel('memory');
  channel.onmessage = ({ data }) => {
    limit = data.limit ?? limit;
    channel.postMessage({ live });
  };
  const scopes = [];
  const { createBuffer, pushErrorScope, popErrorScope } = GPUDevice.prototype;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const fits = live + descriptor.size <= limit;
    const buffer = createBuffer.call(this, fits ? descriptor : { ...descriptor, size: 16 });
    const scope = scopes.findLast(({ filter }) => filter === 'out-of-memory');
    if (!fits && scope) scope.error ??= new GPUOutOfMemoryError(`${descriptor.size} bytes beside ${live}`);
    let held = fits ? descriptor.size : 0;
    live += held;
    buffer.destroy = () => {
      live -= held;
      held = 0;
      GPUBuffer.prototype.destroy.call(buffer);
    };
    return buffer;
  };
  GPUDevice.prototype.pushErrorScope = function (filter) {
    scopes.push({ filter });
    pushErrorScope.call(this, filter);
  };
  GPUDevice.prototype.popErrorScope = async function () {
    const { error } = scopes.pop();
    return (await popErrorScope.call(this)) ?? error ?? null;
  };
}

/** In the worker: the adapter passes for a real one, and a canvas gives its picture once, when that is tried. */
function drawingOnce() {
  const info = { vendor: 'test', architecture: 'test', device: '', description: 'a test', isFallbackAdapter: false };
  Object.defineProperty(GPUAdapter.prototype, 'info', { get: () => info });
  const { transferToImageBitmap } = OffscreenCanvas.prototype;
  OffscreenCanvas.prototype.transferToImageBitmap = function () {
    OffscreenCanvas.prototype.transferToImageBitmap = () => {
      throw new Error('there is no more canvas');
    };
    return transferToImageBitmap.call(this);
  };
}
