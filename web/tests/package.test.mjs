// The npm package in real browsers. Run by `cargo xtask web test`.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { serve } from '../serve.mjs';
import { dist, emptyProject, launch, native, open, packageAfter, plainPage, root, withVite, withWebpack } from './support.mjs';

/** On the [-1, 1] scale, f32 against the native engine: the project's level for whole models. */
const TOLERANCE = 1e-3;

const project = emptyProject();
const [vite, webpack] = [await withVite(project), await withWebpack(project)];
const folders = {
  '': vite,
  native,
  package: dist,
  models: join(root, 'models'),
  fixtures: join(root, 'tests', 'fixtures'),
};

for (const name of ['chromium', 'firefox']) {
  describe(`${name}, the package in an empty vite project`, () => {
    let browser;
    let isolated;
    let plain;
    before(async () => {
      [browser, isolated, plain] = await Promise.all([
        launch[name](),
        serve(folders),
        serve({ ...folders, '': plainPage() }, { isolated: false }),
      ]);
    });
    after(async () => {
      await browser?.close();
      await Promise.all([isolated, plain].map((server) => server?.close()));
    });

    test('encodes and decodes as the native engine, on two threads', async () => {
      const { page, errors } = await open(browser, isolated.url);
      const found = await page.evaluate(roundTrip, { threads: 2 });
      assert.ok(found.latents <= TOLERANCE, `latents differ by ${found.latents}`);
      assert.ok(found.pixels <= TOLERANCE, `pixels differ by ${found.pixels}`);
      assert.equal(found.engine.threads, 2);
      assert.match(found.engine.detail, /^vaekit-cpu .* on wasm (relaxed-simd|simd128), 2 threads$/);
      assert.deepEqual(found.engine.notices.filter((notice) => notice.includes('thread')), []);
      assert.deepEqual(found.size, [512, 512]);
      assert.ok(found.steps > 10, `${found.steps} steps were told`);
      assert.deepEqual(errors, []);
      await page.close();
    });

    test('a plain module script without isolation: one thread, with a notice; two are an error', async () => {
      const { page, errors } = await open(browser, plain.url);
      const found = await page.evaluate(roundTrip, {});
      assert.ok(found.latents <= TOLERANCE && found.pixels <= TOLERANCE, JSON.stringify(found));
      assert.equal(found.engine.threads, 1);
      assert.match(found.engine.notices.join(), /one thread: the page is not cross-origin isolated/);
      const refused = await page.evaluate(() => failure(vaekit.Vae.load('/native/starter', { threads: 2 })));
      assert.equal(refused.kind, 'engine');
      assert.match(refused.message, /2 threads need a page that is cross-origin isolated/);
      assert.deepEqual(errors, []);
      await page.close();
    });

    test('without relaxed SIMD it runs on plain SIMD, with threads and without', async () => {
      for (const isolated of [true, false]) {
        const old = await serve({ ...folders, '': plainPage(), package: packageAfter(withoutRelaxedSimd) }, { isolated });
        const { page, errors } = await open(browser, old.url);
        const found = await page.evaluate(roundTrip, { threads: isolated ? 2 : 1 });
        assert.ok(found.latents <= TOLERANCE && found.pixels <= TOLERANCE, JSON.stringify(found));
        assert.match(found.engine.detail, isolated ? /on wasm simd128, 2 threads$/ : /on wasm simd128, 1 thread$/);
        assert.match(found.engine.notices.join(), /this browser has no relaxed SIMD/);
        assert.ok(old.files().some((file) => file.endsWith(isolated ? 'vaekit-simd128-threads.wasm' : 'vaekit-simd128.wasm')));
        assert.deepEqual(errors, []);
        await page.close();
        await old.close();
      }
    });

    test('cancels between two layers, and runs on', async () => {
      const { page } = await open(browser, isolated.url);
      const found = await page.evaluate(async () => {
        const vae = await vaekit.Vae.load('/native/starter', { halves: ['decoder'] });
        const latents = { data: new Float32Array(16 * 64 * 64), shape: [1, 16, 64, 64], domain: 'raw' };
        const controller = new AbortController();
        const told = [];
        const onProgress = ({ stage, done, total }) => {
          told.push(done / total);
          if (stage === 'decoding' && done > 0) controller.abort();
        };
        const stopped = await failure(vae.decode(latents, { signal: controller.signal, onProgress }));
        const first = await failure(vae.decode(latents, { signal: AbortSignal.abort() }));
        const { image } = await vae.decode(latents);
        vae.dispose();
        return { stopped, first, most: Math.max(...told), width: image.width, after: await failure(vae.decode(latents)) };
      });
      assert.deepEqual(found.stopped, { name: 'VaekitError', kind: 'cancelled', message: found.stopped.message });
      assert.equal(found.first.kind, 'cancelled');
      assert.ok(found.most < 0.9, `it went on to ${found.most}`);
      assert.equal(found.width, 512);
      assert.match(found.after.message, /disposed/);
      await page.close();
    });

    test('a checkpoint becomes the bytes that the native program writes', async () => {
      const { page } = await open(browser, isolated.url);
      const paths = ['vae_decoder/config.json', 'vae_decoder/model.onnx', 'vae_encoder/config.json', 'vae_encoder/model.onnx', 'vaekit.json'];
      for (const [precision, model] of [['fp32', 'starter'], ['fp16', 'starter-fp16']]) {
        const found = await page.evaluate(async (precision) => {
          const weights = await file('/models/starter/diffusion_pytorch_model.safetensors');
          const config = await file('/models/starter/config.json');
          const folder = await vaekit.convert({ [weights.name]: weights, 'config.json': config }, { precision });
          const entries = await Promise.all([...folder.files].map(async ([path, blob]) => [path, await sha256(blob)]));
          return { entries, zip: [...new Uint8Array(await folder.zip().slice(0, 4).arrayBuffer())] };
        }, precision);
        assert.deepEqual(found.entries.map(([path]) => path).sort(), paths);
        for (const [path, hash] of found.entries) {
          const expected = createHash('sha256').update(readFileSync(join(native, model, path))).digest('hex');
          assert.equal(hash, expected, `${precision} ${path}`);
        }
        assert.deepEqual(found.zip, [0x50, 0x4b, 3, 4]);
      }
      await page.close();
    });

    test('a checkpoint loads as it is, and its latents come back from a file', async () => {
      const { page } = await open(browser, isolated.url);
      const found = await page.evaluate(async () => {
        const names = ['diffusion_pytorch_model.safetensors', 'config.json'];
        const files = await Promise.all(names.map((name) => file(`/models/starter/${name}`)));
        const vae = await vaekit.Vae.load(files, { name: 'mine', threads: 1 });
        const picture = new ImageData(40, 25);
        const { latents, imageSize, posterior } = await vae.encode(picture, { sample: true, seed: 7 });
        const saved = await vaekit.saveLatents(latents, 'safetensors', vae);
        const read = await vaekit.readLatents(saved);
        const { image } = await vae.decode(latents, { cropTo: imageSize });
        const same = await vaekit.metrics(image, image);
        const { info } = vae;
        vae.dispose();
        return { info, imageSize, kl: posterior.kl, name: read.provenance.vae.name, same, size: [image.width, image.height],
          differs: largest(read.data, latents.data) };
      });
      assert.equal(found.info.name, 'mine');
      assert.equal(found.info.latents.channels, 16);
      assert.deepEqual(found.imageSize, { width: 40, height: 25 });
      assert.ok(found.kl > 0);
      assert.equal(found.name, 'mine');
      assert.equal(found.differs, 0);
      assert.deepEqual(found.same, { psnr: Infinity, ssim: 1 });
      assert.deepEqual(found.size, [40, 25]);
      await page.close();
    });

    test('cuts into tiles that look like one piece', async () => {
      const { page, errors } = await open(browser, isolated.url);
      const found = await page.evaluate(async () => {
        const vae = await vaekit.Vae.load('/native/starter', { threads: 2 });
        const whole = await vae.encode(await file('/models/samples/astronaut.png'));
        const { latents, tiles } = await vae.encode(await file('/models/samples/astronaut.png'), { tiles: 384 });
        const [one, cut] = [await vae.decode(whole.latents), await vae.decode(whole.latents, { tiles: 256 })];
        return {
          tiles: [whole.tiles, tiles, one.tiles, cut.tiles],
          differs: largest(latents.data, whole.latents.data),
          psnr: (await vaekit.metrics(one.image, cut.image)).psnr,
        };
      });
      assert.deepEqual(found.tiles, [
        undefined,
        { columns: 2, rows: 2, width: 38, height: 38, alone: false },
        undefined,
        { columns: 3, rows: 3, width: 27, height: 27, alone: false },
      ]);
      assert.ok(found.differs > 0 && found.psnr >= 40, JSON.stringify(found));
      assert.deepEqual(errors, []);
      await page.close();
    });

    test('bad files and wishes say what is wrong', async () => {
      const { page } = await open(browser, isolated.url);
      const load = (source, options) =>
        page.evaluate(async ([source, options]) => failure(vaekit.Vae.load(await file(source), options)), [source, options]);
      const check = (found, kind, message) => {
        assert.equal(found.name, 'VaekitError');
        assert.equal(found.kind, kind, found.message);
        assert.match(found.message, message);
      };
      check(await load('/fixtures/bad/empty.safetensors'), 'bad-input', /^empty.safetensors: the file is empty \(0 bytes\)$/);
      check(await load('/fixtures/bad/malicious.ckpt'), 'bad-input', /^malicious.ckpt: /);
      check(await load('/fixtures/bad/truncated.safetensors'), 'bad-input', /^truncated.safetensors: the file is truncated/);
      check(await load('/models/samples/astronaut.png'), 'bad-input', /^astronaut.png: /);
      check(await load('/fixtures/bad/empty.safetensors', { engine: 'opencl' }), 'bad-input', /expected auto, cpu, tract or webgpu/);
      const rest = await page.evaluate(async () => {
        const vae = await vaekit.Vae.load('/native/starter', { threads: 1 });
        const shape = [1, 4, 8, 8];
        return {
          missing: await failure(vaekit.Vae.load('/nowhere/model.onnx')),
          channels: await failure(vae.decode({ data: new Float32Array(256), shape, domain: 'raw' })),
          length: await failure(vae.decode({ data: new Float32Array(3), shape, domain: 'raw' })),
          picture: await failure(vae.encode(new Blob(['no picture']))),
          large: await failure(vae.decode({ data: new Float32Array(16 * 1024 * 1024), shape: [1, 16, 1024, 1024], domain: 'raw' }, { tiles: 'never' })),
          tiny: await failure(vae.decode({ data: new Float32Array(1024), shape: [1, 16, 8, 8], domain: 'raw' }, { tiles: 64 })),
        };
      });
      check(rest.missing, 'network', /404/);
      check(rest.channels, 'bad-input', /this VAE takes C = 16/);
      check(rest.length, 'bad-input', /3 values are no latents/);
      check(rest.picture, 'bad-input', /no picture/);
      check(rest.large, 'out-of-memory', /out of memory: \d+ MB of images would have to be held at once, and 4295 MB can be/);
      check(rest.tiny, 'bad-input', /tiles of 64 pixels are too small: at least 128/);
      await page.close();
    });

    test('tells what there is to run on', async () => {
      const { page, errors } = await open(browser, isolated.url);
      const found = await page.evaluate(async () => {
        const manifest = await (await fetch('/native/starter/vaekit.json')).json();
        return vaekit.devices({ manifest, width: 512, height: 512 });
      });
      assert.equal(found.wasm.crossOriginIsolated, true);
      assert.ok(found.wasm.threads >= 1);
      assert.ok(found.gpu.adapter || found.gpu.reason);
      assert.deepEqual(found.fits.map(({ half, engine }) => `${half} ${engine}`), ['encoder cpu', 'encoder webgpu', 'decoder cpu', 'decoder webgpu']);
      assert.ok(found.fits.every(({ engine, fits }) => engine !== 'cpu' || fits));
      assert.deepEqual(errors, []);
      await page.close();
    });
  });
}

test('chromium, the package in an empty webpack 5 project', async () => {
  const [browser, server] = await Promise.all([launch.chromium(), serve({ ...folders, '': webpack })]);
  const { page, errors } = await open(browser, server.url);
  const found = await page.evaluate(roundTrip, { threads: 2 });
  assert.ok(found.latents <= TOLERANCE && found.pixels <= TOLERANCE, JSON.stringify(found));
  assert.equal(found.engine.threads, 2);
  assert.deepEqual(errors, []);
  await browser.close();
  await server.close();
});

/** In the worker: a module that has f32x4.relaxed_madd is called invalid, as the package asks for it. */
function withoutRelaxedSimd() {
  const validate = WebAssembly.validate.bind(WebAssembly);
  WebAssembly.validate = (bytes) => !String(bytes).includes('253,133,2') && validate(bytes);
}

/** In the page: the sample there and back, compared with the native engine. */
async function roundTrip({ threads }) {
  const vae = await vaekit.Vae.load('/native/starter', threads ? { threads } : {});
  const picture = await (await fetch('/models/samples/astronaut.png')).blob();
  const expected = { latents: await npy('/native/sample-latents.npy'), image: await npy('/native/sample-image.npy') };
  const { latents } = await vae.encode(picture, { latents: 'raw' });
  let steps = 0;
  const given = { ...expected.latents, domain: 'raw' };
  const decoded = await vae.decode(given, { onProgress: () => steps++ });
  vae.dispose();
  return {
    latents: largest(latents.data, expected.latents.data),
    pixels: largest(decoded.pixels(), expected.image.data),
    size: [decoded.image.width, decoded.image.height],
    engine: vae.info.engine,
    steps,
    seconds: decoded.seconds,
  };
}
