// The npm package in real browsers. Run by `cargo xtask web test`.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { serve } from '../serve.mjs';
import { dist, emptyProject, launch, native, open, packageAfter, plainPage, root, target, withVite, withWebpack } from './support.mjs';

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
        const { stopped, most } = await cancelled(vae, latents);
        const first = await failure(vae.decode(latents, { signal: AbortSignal.abort() }));
        const { image } = await vae.decode(latents);
        vae.dispose();
        return { stopped, first, most, width: image.width, after: await failure(vae.decode(latents)) };
      });
      assert.deepEqual(found.stopped, { name: 'VaekitError', kind: 'cancelled', message: found.stopped.message });
      assert.equal(found.first.kind, 'cancelled');
      assert.ok(found.most < 0.9, `it went on to ${found.most}`);
      assert.equal(found.width, 512);
      assert.match(found.after.message, /disposed/);
      await page.close();
    });

    test('a wish to cancel that comes too late cancels all the same', async () => {
      const { page } = await open(browser, isolated.url);
      const found = await page.evaluate(async () => {
        const vae = await vaekit.Vae.load('/native/starter', { halves: ['decoder'] });
        const latents = { data: new Float32Array(16 * 64), shape: [1, 16, 8, 8], domain: 'raw' };
        const { postMessage } = Worker.prototype;
        Worker.prototype.postMessage = function (message, ...rest) {
          if (!('abort' in message)) postMessage.call(this, message, ...rest);
        };
        const controller = new AbortController();
        const late = await failure(vae.decode(latents, { signal: controller.signal, onProgress: () => controller.abort() }));
        return { late, width: (await vae.decode(latents)).image.width };
      });
      assert.equal(found.late.kind, 'cancelled');
      assert.equal(found.width, 64);
      await page.close();
    });

    test('a trap is an error, and the VAE is opened again as soon as that can be; with threads and without', async () => {
      const moving = join(target, 'moving');
      for (const isolated of [true, false]) {
        rmSync(moving, { recursive: true, force: true });
        cpSync(join(native, 'starter'), moving, { recursive: true });
        const here = { ...folders, '': plainPage(), moving };
        const trapping = await serve({ ...here, package: packageAfter(withTraps) }, { isolated });
        const { page, errors } = await open(browser, trapping.url);
        await page.evaluate(async () => {
          window.zeros = { data: new Float32Array(16 * 64), shape: [1, 16, 8, 8], domain: 'raw' };
          window.trap = (step) => new BroadcastChannel('trap').postMessage(step);
          window.vae = await vaekit.Vae.load('/moving', { halves: ['decoder'], ...(crossOriginIsolated && { threads: 2 }) });
        });
        // In the module's first turn and in a later one, which reaches the worker in other ways.
        for (const step of [1, 3]) {
          const trapped = await page.evaluate(async (step) => {
            await vae.decode(zeros);
            trap(step);
            await new Promise((resolve) => setTimeout(resolve, 200));
            return failure(vae.decode(zeros));
          }, step);
          assert.deepEqual(trapped, { name: 'VaekitError', kind: 'out-of-memory', message: 'there was not enough memory; use a smaller picture' });
        }
        renameSync(moving, `${moving}-away`);
        const gone = await page.evaluate(() => failure(vae.decode(zeros)));
        assert.match(gone.message, /holds no model/);
        renameSync(`${moving}-away`, moving);
        const back = await page.evaluate(async () => {
          const stages = new Set();
          const cancelled = await failure(vae.decode(zeros, { signal: AbortSignal.timeout(0) }));
          const { image } = await vae.decode(zeros, { onProgress: ({ stage }) => stages.add(stage) });
          return { cancelled, width: image.width, stages: [...stages] };
        });
        assert.equal(back.cancelled.kind, 'cancelled');
        assert.equal(back.width, 64);
        assert.ok(back.stages.includes('loading the decoder') && back.stages.includes('decoding'), back.stages.join());
        // Firefox tells the page of a worker's trap, whatever the worker does.
        assert.deepEqual(errors.filter((text) => !/404|^unreachable$/.test(text)), []);
        await page.close();
        await trapping.close();

        const tiny = await serve({ ...here, package: packageAfter(withLittleMemory, PAGES) }, { isolated });
        const second = await open(browser, tiny.url);
        const unopened = await second.page.evaluate(() => failure(vaekit.Vae.load('/moving', { threads: 1 })));
        assert.deepEqual(unopened, { name: 'VaekitError', kind: 'out-of-memory', message: 'there was not enough memory for the VAE' });
        await second.page.close();
        await tiny.close();
      }
    });

    test('a thread that breaks ends the work', async () => {
      const broken = await serve({ ...folders, '': plainPage(), package: packageAfter(withThreadsThatBreak) });
      const { page, errors } = await open(browser, broken.url);
      const found = await page.evaluate(() => failure(vaekit.Vae.load('/native/starter', { threads: 2 })));
      assert.deepEqual(found, { name: 'VaekitError', kind: 'other', message: 'a thread broke' });
      assert.deepEqual(errors, []);
      await page.close();
      await broken.close();
    });

    test('a module that could not be fetched is asked for again', async () => {
      const flaky = await serve({ ...folders, '': plainPage(), package: packageAfter(offlineAtFirst) });
      const { page } = await open(browser, flaky.url);
      const found = await page.evaluate(async () => {
        const picture = new ImageData(16, 16);
        return { first: await failure(vaekit.metrics(picture, picture)), then: await vaekit.metrics(picture, picture) };
      });
      assert.equal(found.first.kind, 'network');
      assert.deepEqual(found.then, { psnr: Infinity, ssim: 1 });
      await page.close();
      await flaky.close();
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

    test('compares VAEs as the native program does', async () => {
      const expected = JSON.parse(readFileSync(join(native, 'compare', 'report.json'), 'utf8'));
      const { page, errors } = await open(browser, isolated.url);
      const found = await page.evaluate(async () => {
        const bitmap = await createImageBitmap(await file('/models/samples/astronaut.png'));
        const original = new ImageData(pixelsOf(bitmap), bitmap.width, bitmap.height);
        const trips = [];
        for (const name of ['starter', 'starter-fp16']) {
          const vae = await vaekit.Vae.load(`/native/${name}`);
          const encoded = await vae.encode(original);
          trips.push({ vae: vae.info, encoded, decoded: await vae.decode(encoded.latents, { cropTo: encoded.imageSize }) });
          vae.dispose();
        }
        const stages = new Set();
        const picture = { name: 'astronaut.png', original, trips };
        const { report, ...findings } = await vaekit.compare([picture], { onProgress: ({ stage }) => stages.add(stage) });
        const [numbers, html, csv] = await Promise.all([report.json, report.html, report.csv].map((blob) => blob.text()));
        const other = { name: 'other.png', original, trips: trips.slice(1) };
        const wrong = await failure(vaekit.compare([picture, other]));
        return { ...findings, numbers: JSON.parse(numbers), html, csv, wrong, stages: [...stages] };
      });
      const [natively, ours] = [expected, found.numbers].map(({ pictures }) => pictures[0].trips);
      const levels = { ssimulacra2: 0.05, psnr: 0.01, ms_ssim: 1e-4, ssim: 1e-4, delta_e_mean: 0.01, saturation: 1e-3, detail_kept: 1e-3 };
      for (const [index, trip] of ours.entries()) {
        for (const [key, level] of Object.entries(levels)) {
          const apart = Math.abs(trip[key] - natively[index][key]);
          assert.ok(apart <= level, `${key} is ${trip[key]}, natively ${natively[index][key]}`);
        }
        const { kl_per_value, scaled } = natively[index].latents;
        assert.ok(Math.abs(trip.latents.kl_per_value - kl_per_value) <= 1e-3 && Math.abs(trip.latents.scaled.deviation - scaled.deviation) <= 1e-3);
      }
      assert.equal(found.verdict.headline.slice(0, 20), expected.verdict.headline.slice(0, 20));
      assert.equal(found.verdict.winner, null);
      assert.deepEqual(found.numbers.variants.map(({ precision }) => precision), ['fp32', 'fp16']);
      assert.equal(found.summary.rows[0].length, found.summary.columns.length);
      assert.ok(found.pictures[0].regions.length > 0);
      assert.match(found.html, /^<!DOCTYPE html>/);
      assert.equal(found.csv.trim().split('\n').length, 3);
      assert.ok(found.stages.includes('measuring astronaut.png'), found.stages.join());
      assert.equal(found.wrong.kind, 'bad-input');
      assert.match(found.wrong.message, /other.png went through .*, expected .* as the first picture/);
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
      const unscaled = await load('/fixtures/kl-ldm-f16/model.safetensors');
      check(unscaled, 'bad-input', /does not tell how its latents are scaled/);
      assert.equal(unscaled.code, 'unknown-scaling');
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
          // What only a program without types does.
          plain: await failure((async () => vae.decode({ data: new Array(1024).fill(0), shape: [1, 16, 8, 8], domain: 'raw' }))()),
          shapeless: await failure((async () => vae.decode({ data: new Float32Array(1024), domain: 'raw' }))()),
          neither: await failure((async () => vae.decode({ data: new Float32Array(1024), shape: [1, 16, 8, 8] }))()),
          either: (await vae.decode({ data: new Float32Array(1024), shape: [1, 16, 8, 8] }, { domain: 'raw' })).image.width,
          unsaved: await failure(vaekit.saveLatents({ data: new Float32Array(1024), shape: [1, 16, 8, 8], domain: 'Raw' }, 'npy')),
          format: await failure(vaekit.saveLatents({ data: new Float32Array(1024), shape: [1, 16, 8, 8], domain: 'raw' })),
          twice: await failure(vaekit.Vae.load([new File(['a'], 'model.onnx'), new File(['b'], 'model.onnx')])),
          nothing: await failure(vaekit.Vae.load({ 'model.onnx': undefined })),
        };
      });
      check(rest.missing, 'network', /404/);
      check(rest.channels, 'bad-input', /this VAE takes C = 16/);
      check(rest.length, 'bad-input', /3 values are no latents/);
      check(rest.picture, 'bad-input', /no picture/);
      check(rest.large, 'out-of-memory', /out of memory: 64 channels of 4096 by 4096 are more than can be addressed/);
      check(rest.tiny, 'bad-input', /tiles of 64 pixels are too small: at least 128/);
      check(rest.plain, 'bad-input', /^the latents' data is Array, expected a Float32Array$/);
      check(rest.shapeless, 'bad-input', /^the latents' shape is undefined, expected \[1, C, h, w\]$/);
      check(rest.neither, 'bad-input', /^the latents' domain is undefined, expected "raw" or "scaled"$/);
      assert.equal(rest.either, 64);
      check(rest.unsaved, 'bad-input', /^the latents' domain is "Raw", expected "raw" or "scaled"$/);
      check(rest.format, 'bad-input', /not written as .undefined/);
      check(rest.twice, 'bad-input', /two of the files are called model.onnx; hand over an object of files by path/);
      check(rest.nothing, 'bad-input', /model.onnx is undefined, expected a File or a Blob/);
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

/** In the worker: when somebody says so, a module ends in a trap at a step of its next run, as it does when it gets no memory. */
function withTraps() {
  let steps = Infinity;
  new BroadcastChannel('trap').onmessage = ({ data }) => (steps = data);
  const { then } = Promise.prototype;
  Promise.prototype.then = function (...callbacks) {
    // It waits for the worker between two steps.
    const isStep = callbacks.length === 2 && new Error().stack.includes('wasm-function');
    if (isStep && --steps === 0) throw new WebAssembly.RuntimeError('unreachable');
    return then.apply(this, callbacks);
  };
}

/** Of 64 KiB: too few to open the starter VAE. */
const PAGES = 100;

/** In the worker: a module has so many pages of memory, if it has threads in what it imports, else in its own section. */
function withLittleMemory(pages) {
  const { Memory, compile } = WebAssembly;
  WebAssembly.Memory = function (limits) {
    return new Memory({ ...limits, maximum: pages });
  };
  WebAssembly.Memory.prototype = Memory.prototype;
  WebAssembly.compileStreaming = async (response) => {
    const bytes = new Uint8Array(await (await response).arrayBuffer());
    const number = (at) => {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = bytes[at++];
        value |= (byte & 127) << shift;
        if (byte < 128) return [value, at];
      }
    };
    for (let at = 8; at < bytes.length; ) {
      const [size, content] = number(at + 1);
      // One memory, its flags, and its least; its most has three bytes.
      if (bytes[at] === 5) bytes.set([(pages & 127) | 128, ((pages >> 7) & 127) | 128, pages >> 14], number(content + 2)[1]);
      at = content + size;
    }
    return compile(bytes);
  };
}

/** In each thread: it fails as soon as it has said that it runs. */
function withThreadsThatBreak() {
  const { postMessage } = self;
  self.postMessage = (message, ...rest) => {
    postMessage.call(self, message, ...rest);
    if (message === 'runs') throw new Error('a thread broke');
  };
}

/** In the worker: the first request fails. */
function offlineAtFirst() {
  const { fetch } = self;
  self.fetch = async () => {
    self.fetch = fetch;
    throw new TypeError('there is no network');
  };
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
