// The demo page in real browsers, as people use it. Run by `cargo xtask web test`, after `cargo xtask web build`.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { build, figure, fixtures, go, roundTrip, serveHub, servePage, servePageAfter, shoot, visit } from './demo-support.mjs';
import { launch, root } from './support.mjs';

build();

/** How browsers tell in the console of lost connections and answers such as 404. */
const REFUSED = 'Failed to load resource';
const PROBLEM = '.problem:not([hidden])';
const RUNNING = '.job:not([hidden])';

/** What models/starter/README.md says of the sample, measured by PyTorch on the same picture. */
const STARTER_PSNR = 22.3;

const file = (name, buffer) => ({ name, mimeType: '', buffer });
const focused = (tab) => tab.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.id);
const says = (tab, text) => tab.waitForFunction((text) => document.querySelector('#announcer').textContent.includes(text), text);
const fixture = async (path) => file(path.replaceAll('/', '-'), await readFile(join(fixtures, path)));

for (const name of ['chromium', 'firefox']) {
  describe(name, () => {
    let browser;
    let server;
    before(async () => {
      [browser, server] = await Promise.all([launch[name](), servePage()]);
    });
    after(async () => {
      await browser?.close();
      await server?.close();
    });

    test('one click encodes and decodes the sample, on threads', async () => {
      const { tab, done } = await visit(browser, server.url);
      await roundTrip(tab);
      const psnr = parseFloat(await figure(tab, 'roundtrip-facts', 'PSNR'));
      assert.ok(Math.abs(psnr - STARTER_PSNR) < 0.1, `PSNR is ${psnr}, expected ${STARTER_PSNR}`);
      assert.equal(await figure(tab, 'roundtrip-facts', 'Latents').then((text) => text.split('\n')[0]), '65,536 numbers');
      assert.equal(await tab.locator('#roundtrip-latents canvas').count(), 16);
      assert.equal(await tab.evaluate(() => crossOriginIsolated), true);
      await shoot(tab, `${name}-round-trip`, { fullPage: true });
      await done();
    });

    test('without isolation it computes on one thread and says so', async () => {
      const plain = await servePage({ isolated: false });
      // The service worker would add the headers.
      const { tab, done } = await visit(browser, plain.url, { serviceWorker: false });
      await roundTrip(tab);
      assert.match(await tab.locator('#engine-line').innerText(), /one thread/);
      await tab.click('#engine summary');
      assert.match(await tab.locator('#engine-notices').innerText(), /one thread/);
      await shoot(tab, `${name}-one-thread`);
      await done();
      await plain.close();
    });

    for (const isolated of [true, false]) {
      test(`works offline after the first visit, isolated; the host sends ${isolated ? 'the' : 'no'} headers for that`, async () => {
        const host = await servePage({ isolated });
        // WebDriver BiDi loses a tab of Firefox that isolates itself: there the test reloads it.
        const { tab, done } = await visit(browser, host.url, { reloads: name === 'chromium' });
        if (name === 'firefox' && !isolated) {
          await tab.waitForFunction(() => /Reload once/.test(document.querySelector('#offline').textContent));
          await tab.reload();
        }
        await tab.waitForFunction(() => /Ready to work offline/.test(document.querySelector('#offline').textContent));
        assert.equal(await tab.evaluate(() => crossOriginIsolated), true);
        await host.close();
        await tab.reload();
        await roundTrip(tab);
        assert.equal(await tab.evaluate(() => crossOriginIsolated), true);
        await done();
      });
    }

    test('cancel stops the work and the page works on', async () => {
      const { tab, done } = await visit(browser, server.url);
      await roundTrip(tab);
      await tab.selectOption('#longest-side', '16384');
      await tab.setInputFiles('#pick', file('large.png', await enlarged(tab, 2048)));
      await tab.click(`${RUNNING} .cancel`);
      await tab.waitForSelector('#roundtrip-job .job', { state: 'hidden' });
      assert.equal(await tab.locator('#roundtrip-job .problem').isVisible(), false);
      assert.equal(await tab.locator('#roundtrip-stages').isVisible(), false, 'nothing came out');
      await tab.selectOption('#longest-side', '256');
      await roundTrip(tab);
      await done();
    });

    test('files that are no VAE say what is wrong, and the page works on', async () => {
      const { tab, done } = await visit(browser, server.url);
      for (const bad of ['empty.safetensors', 'huge-header.safetensors', 'malicious.ckpt', 'missing-tensor.safetensors', 'truncated.safetensors']) {
        await tab.setInputFiles('#pick', await fixture(`bad/${bad}`));
        await tab.waitForFunction(
          ([problem, bad]) => document.querySelector(problem)?.textContent.includes(bad),
          [PROBLEM, bad],
        );
      }
      await tab.setInputFiles('#pick', file('notes.txt', Buffer.from('hello')));
      await tab.waitForFunction((problem) => document.querySelector(problem)?.textContent.includes('notes.txt'), PROBLEM);
      await tab.setInputFiles('#pick', file('broken.png', Buffer.from('no picture')));
      await tab.waitForFunction((problem) => document.querySelector(problem)?.textContent.includes('broken.png'), PROBLEM);
      await shoot(tab, `${name}-problem`);
      await roundTrip(tab);
      assert.equal(await tab.locator(PROBLEM).count(), 0);
      await done();
    });

    test('the playground follows its sliders', async () => {
      const { tab, done } = await visit(browser, server.url);
      await go(tab, 'playground');
      const psnr = async () => parseFloat(await figure(tab, 'playground-facts', 'PSNR'));
      await tab.waitForSelector('#playground-facts dd');
      const start = await psnr();
      // Quick moves: all but the last are dropped.
      for (const blend of ['0.1', '0.2', '0.3', '0.4', '0.5']) await tab.locator('#blend').fill(blend);
      await tab.waitForFunction((start) => parseFloat(document.querySelector('#playground-facts dd').textContent) < start - 2, start);
      await shoot(tab, `${name}-playground`, { fullPage: true });
      await says(tab, 'dB against A');
      await tab.click('#reset');
      await tab.waitForFunction((start) => parseFloat(document.querySelector('#playground-facts dd').textContent) === start, start);
      await tab.locator('#noise').fill('1');
      await tab.waitForFunction((start) => parseFloat(document.querySelector('#playground-facts dd').textContent) < start - 2, start);
      await done();
    });

    test('two VAEs are compared', async () => {
      const { tab, done } = await visit(browser, server.url);
      await go(tab, 'compare');
      await tab.selectOption('#longest-side', '256');
      await tab.setInputFiles('#pick', await fixture('kl-ldm-f16/model.safetensors'));
      await scaleIfAsked(tab);
      await tab.waitForFunction(() => document.querySelectorAll('#compare-choice input:checked').length === 2);
      await tab.click('#compare-run');
      await tab.waitForFunction(() => document.querySelectorAll('#compare-rows tr').length === 2);
      await says(tab, await tab.locator('#compare-verdict strong').innerText());
      assert.deepEqual(await tab.locator('#compare-left option').allInnerTexts(), ['Original', 'starter', 'kl-ldm-f16-model']);
      // The fixture's weights are random: nobody could mistake them for the better ones, and one picture makes no winner.
      assert.match(await tab.locator('#compare-verdict').innerText(), /^On this one picture .starter. comes closest/);
      assert.equal(await tab.locator('#compare-rows .best').count(), 0);
      assert.match(await tab.locator('#compare-noise').innerText(), /^One picture tells nothing about noise/);
      assert.match(await tab.locator('#compare-warnings').innerText(), /deviate by/);
      await tab.locator('#compare-regions button').first().click();
      assert.notEqual(await tab.locator('#compare-pictures .zoom').innerText(), '100 %');
      await shoot(tab, `${name}-compare`, { fullPage: true });
      await done();
    });

    test('a VAE comes from the hub, though the connection is lost, is kept, and goes', async () => {
      const weights = await readFile(join(fixtures, 'kl-ldm-ckpt/model.ckpt'));
      const sha256 = createHash('sha256').update(weights).digest('hex');
      const hub = await serveHub({ 'WarriorMama777/OrangeMixs/resolve/main/VAEs/orangemix.vae.pt': { cut: weights, resumes: true } });
      const { tab, done } = await visit(browser, `${server.url}#models`, { hub: hub.url, forgives: REFUSED });
      await tab.fill('#hub-filter', 'orange');
      await tab.click('[aria-label="Fetch orangemix"]');
      await tab.waitForSelector('[aria-label="Delete orangemix"]');
      await says(tab, 'its sha256 was not known before and is recorded');
      await hub.close();
      await tab.reload();
      await tab.waitForSelector('[aria-label="Delete orangemix"]');
      assert.ok((await tab.locator('#model-list').innerText()).includes(`recorded when it was fetched: ${sha256}`));
      await tab.click('[aria-label="Use orangemix"]');
      await go(tab, 'roundtrip');
      await tab.selectOption('#longest-side', '256');
      await roundTrip(tab);
      await go(tab, 'models');
      await shoot(tab, `${name}-models`);
      await tab.click('[aria-label="Delete orangemix"]');
      await tab.waitForSelector('[aria-label="Delete orangemix"]', { state: 'detached' });
      assert.equal(await tab.locator('#vae').inputValue(), 'starter');
      await done();
    });
  });
}

test('on WebGPU the sample comes back, and the figures can be copied', async (context) => {
  const [browser, server] = await Promise.all([launch.swiftshader(), servePage()]);
  context.after(() => Promise.all([browser.close(), server.close()]));
  const { tab, done } = await visit(browser, server.url, { permissions: ['clipboard-read', 'clipboard-write'] });
  // SwiftShader takes its time to compile and to try the kernels.
  tab.context().setDefaultTimeout(180_000);
  await go(tab, 'models');
  await tab.selectOption('#engine-choice', 'webgpu');
  await go(tab, 'roundtrip');
  await tab.selectOption('#longest-side', '256');
  await roundTrip(tab);
  const psnr = parseFloat(await figure(tab, 'roundtrip-facts', 'PSNR'));
  assert.ok(psnr > STARTER_PSNR - 3, `PSNR is ${psnr}`);
  assert.match(await tab.locator('#engine-line').innerText(), /^WebGPU, .*swiftshader/i);
  await tab.click('#copy-report');
  await tab.waitForFunction(() => document.querySelector('#copy-report').textContent === 'Copied');
  const report = await tab.evaluate(() => navigator.clipboard.readText());
  assert.match(report, /^engine: vaekit-wgpu .*swiftshader/i);
  assert.match(report, /Decode: compute: [\d.]+ s, [\d.]+ GFLOP\/s/);
  await tab.click('#engine summary');
  await tab.waitForFunction(() => document.querySelector('#engine-facts').textContent.includes('in use'));
  await shoot(tab, 'webgpu', { fullPage: true });
  await done();
});

describe('in chromium alone', () => {
  let browser;
  let server;
  before(async () => {
    [browser, server] = await Promise.all([launch.chromium(), servePage()]);
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  test('a service worker that can keep nothing still answers, and leaves the caches of others alone', async () => {
    const full = await servePageAfter(withFullStorage);
    const { tab, done } = await visit(browser, full.url);
    await tab.evaluate(() => caches.open('vaekit http://elsewhere/ 1'));
    await tab.waitForFunction(() => /cannot be kept/.test(document.querySelector('#offline').textContent));
    await roundTrip(tab);
    await tab.reload();
    await roundTrip(tab);
    const names = await tab.evaluate(() => caches.keys());
    assert.ok(names.includes('vaekit http://elsewhere/ 1'));
    assert.ok(names.some((name) => name.startsWith(`vaekit ${full.url} `)), names.join());
    await done();
    await full.close();
  });

  test('two files of one name and size are two VAEs', async () => {
    const first = await readFile(join(fixtures, 'tae-diffusers/diffusion_pytorch_model.safetensors'));
    const second = Buffer.from(first).fill(0, first.length - 60_000);
    const { tab, done } = await visit(browser, server.url, { settings: { longestSide: 256 } });
    const ranges = async (label) => {
      await tab.waitForFunction((label) => document.querySelector('#roundtrip-pictures .right .tag').textContent === label, label);
      return tab.textContent('#roundtrip-latents');
    };
    const found = [];
    for (const [bytes, label] of [[first, 'Decoded by taesd'], [second, 'Decoded by taesd (2)']]) {
      await tab.setInputFiles('#pick', file('taesd.safetensors', bytes));
      found.push(await ranges(label));
    }
    assert.notEqual(found[0], found[1]);
    await tab.selectOption('#vae', { label: 'taesd' });
    await tab.click('#run');
    assert.equal(await ranges('Decoded by taesd'), found[0]);
    await tab.setInputFiles('#pick', file('taesd.safetensors', first));
    await ranges('Decoded by taesd');
    assert.equal(await tab.locator('#vae option').count(), 3, 'the same file is the same VAE');
    await done();
  });

  test('a picture of another size takes the place of the one that is being worked on', async () => {
    const { tab, done } = await visit(browser, server.url, { settings: { longestSide: 16384 } });
    await tab.setInputFiles('#pick', file('large.png', await enlarged(tab, 2048)));
    await tab.waitForSelector(`#roundtrip-job ${RUNNING}`);
    await tab.selectOption('#longest-side', '512');
    await tab.selectOption('#longest-side', '256');
    await tab.waitForFunction(() => /shrunk to 256/.test(document.querySelector('#roundtrip-source').textContent));
    await tab.waitForSelector('#roundtrip-job .job', { state: 'hidden' });
    assert.equal(await tab.locator('#roundtrip-stages').isVisible(), false, 'nothing came out');
    assert.equal(await tab.locator('#roundtrip-pictures .left canvas').evaluate(({ width }) => width), 256);
    await roundTrip(tab);
    await done();
  });

  test('threads that were chosen do not get in the way of engines and pages that have one', async () => {
    const plain = await servePage({ isolated: false });
    for (const [url, engine, expected] of [
      [plain.url, 'auto', /one thread/],
      [server.url, 'tract', /^tract, one thread/],
      [server.url, 'cpu', /^CPU engine, 2 threads/],
    ]) {
      const settings = { engine, threads: 2, longestSide: 256 };
      const { tab, done } = await visit(browser, url, { settings, serviceWorker: false });
      await roundTrip(tab);
      assert.match(await tab.locator('#engine-line').innerText(), expected);
      await done();
    }
    await plain.close();
  });

  test('latents of another scaling are refused, and not for the lack of one', async () => {
    const { tab, done } = await visit(browser, `${server.url}#compare`, { settings: { longestSide: 256 } });
    await tab.setInputFiles('#pick', await fixture('kl-ldm-f16/model.safetensors'));
    await scaleIfAsked(tab);
    await go(tab, 'models');
    const scaled = tab.getByLabel('Latents scaled as, kl-ldm-f16-model');
    assert.equal(await scaled.inputValue(), 'sd1');
    await go(tab, 'roundtrip');
    await roundTrip(tab);
    const [download] = await Promise.all([tab.waitForEvent('download'), tab.click('#save-safetensors')]);
    const latents = await readFile(await download.path());
    await go(tab, 'models');
    await scaled.selectOption('sdxl');
    await tab.setInputFiles('#pick', file('sd1.safetensors', latents));
    const problem = tab.locator(PROBLEM, { hasText: 'does not fit' });
    await problem.waitFor();
    assert.match(await problem.innerText(), /This file does not fit[^]*sd1.safetensors: .*scaling/);
    await done();
  });

  test('several pictures make a winner, and a report', async () => {
    const { tab, done } = await visit(browser, server.url, { settings: { longestSide: 256 }, bypassCSP: true });
    await tab.setInputFiles('#pick', await fixture('kl-ldm-f16/model.safetensors'));
    await scaleIfAsked(tab);
    // Several at once are there to be compared.
    const sample = await readFile(join(root, 'models/samples/astronaut.png'));
    const pictures = [256, 224, 192].map(async (side) => file(`${side}.jpg`, await enlarged(tab, side)));
    await tab.setInputFiles('#pick', [file('astronaut.png', sample), ...(await Promise.all(pictures))]);
    await tab.waitForFunction(() => document.querySelectorAll('#compare-picture option').length === 4);
    await tab.click('#compare-run');
    await tab.waitForFunction(() => document.querySelectorAll('#compare-rows tr').length === 2);
    assert.match(await tab.locator('#compare-verdict').innerText(), /starter/);
    assert.notEqual(await tab.locator('#compare-rows tr').first().locator('.best').count(), 0);
    await tab.selectOption('#compare-picture', '3');
    await tab.waitForFunction(() => /Ready to work offline/.test(document.querySelector('#offline').textContent));
    await shoot(tab, 'several', { fullPage: true });
    assert.deepEqual((await audit(tab)).violations, []);
    const [download] = await Promise.all([tab.waitForEvent('download'), tab.click('#compare-html')]);
    // A page of its own, which loads nothing.
    const report = await browser.newPage();
    const failures = [];
    report.on('console', (message) => message.type() === 'error' && failures.push(message.text()));
    report.on('pageerror', (error) => failures.push(String(error)));
    await report.setContent((await readFile(await download.path())).toString(), { waitUntil: 'load' });
    assert.equal(await report.locator('.verdict strong').innerText(), await tab.locator('#compare-verdict strong').innerText());
    const shown = await report.evaluate(() => {
      // Those out of sight wait to be seen.
      for (const image of document.images) image.loading = 'eager';
      return document.images.length;
    });
    await report.waitForFunction(() => [...document.images].every(({ naturalWidth }) => naturalWidth > 0));
    assert.ok(shown > 10, `${shown} images`);
    assert.deepEqual(failures, []);
    await shoot(report, 'report', { fullPage: true });
    await report.close();
    await done();
  });

  test('several files of latents at once are one too many', async () => {
    const { tab, done } = await visit(browser, server.url);
    await tab.setInputFiles('#pick', ['a.npy', 'b.npy'].map((name) => file(name, Buffer.from(''))));
    await tab.locator(PROBLEM, { hasText: 'One at a time' }).waitFor();
    await done();
  });

  test('the focus stays where the work was begun, or goes to the heading of what is gone', async () => {
    const { tab, done } = await visit(browser, server.url, { settings: { longestSide: 16384 } });
    await tab.setInputFiles('#pick', file('large.png', await enlarged(tab, 2048)));
    await tab.click(`${RUNNING} .cancel`);
    await tab.waitForSelector('#roundtrip-job .job', { state: 'hidden' });
    await tab.focus('#run');
    await tab.keyboard.press('Enter');
    await tab.focus(`#roundtrip-job ${RUNNING} .cancel`);
    await tab.keyboard.press('Enter');
    await tab.waitForSelector('#roundtrip-job .job', { state: 'hidden' });
    assert.equal(await focused(tab), 'run');
    await go(tab, 'models');
    await tab.setInputFiles('#pick', await fixture('tae-diffusers/diffusion_pytorch_model.safetensors'));
    await tab.focus('[aria-label="Use starter"]');
    await tab.keyboard.press('Enter');
    assert.equal(await focused(tab), 'at-hand');
    await tab.focus('[aria-label="Keep tae-diffusers-diffusion_pytorch_model"]');
    await tab.keyboard.press('Enter');
    await tab.waitForSelector('[aria-label="Delete tae-diffusers-diffusion_pytorch_model"]');
    assert.equal(await focused(tab), 'at-hand');
    await done();
  });

  test('what a hub does wrong is told, and nothing of it is kept', async () => {
    const taesd = 'madebyollin/taesd/resolve/614f76814bbe30edbe2e627ace1c2234c81a2c0e';
    const mse = 'stabilityai/sd-vae-ft-mse-original/resolve/629b3ad3030ce36e15e70c5db7d91df0d60c627f';
    const hub = await serveHub({
      [`${taesd}/config.json`]: Buffer.from('{}'),
      [`${mse}/vae-ft-mse-840000-ema-pruned.safetensors`]: Buffer.alloc(1000),
      'ckpt/anything-v3.0/resolve/main/Anything-V3.0.vae.pt': Buffer.alloc(1000),
      'stabilityai/sdxl-vae/resolve/main/sdxl_vae.safetensors': 401,
      'hakurei/waifu-diffusion-v1-4/resolve/main/vae/kl-f8-anime.ckpt': 'stall',
      'stabilityai/sd-vae-ft-ema-original/resolve/main/vae-ft-ema-560000-ema-pruned.safetensors': { cut: Buffer.alloc(1000) },
    });
    const { tab, done } = await visit(browser, `${server.url}#models`, { forgives: REFUSED });
    await tab.fill('#hub-address', hub.url);
    await tab.keyboard.press('Tab');
    for (const [name, expected] of [
      ['taesd', /sha256/],
      ['vae-ft-mse-840000-ema-pruned', /1000 bytes, expected 334641190/],
      ['anything-v3-vae', /sha256/],
      ['sdxl', /licence/],
      ['flux1', /404/],
      ['vae-ft-ema-560000-ema-pruned', /the connection was lost after 500 B of 1.0 kB/],
    ]) {
      await tab.click(`[aria-label="Fetch ${name}"]`);
      await tab.waitForFunction(
        ([problem, source]) => new RegExp(source).test(document.querySelector(problem)?.textContent ?? ''),
        [`#hub-job ${PROBLEM}`, expected.source],
      );
    }
    await shoot(tab, 'hub-problem');
    await tab.click('[aria-label="Fetch kl-f8-anime"]');
    await tab.waitForSelector(`#hub-job ${RUNNING}`);
    assert.equal(await tab.locator('[aria-label="Fetch taesd"]').isDisabled(), true, 'one at a time');
    await tab.focus(`#hub-job ${RUNNING} .cancel`);
    await tab.keyboard.press('Enter');
    await tab.waitForSelector('#hub-job .job', { state: 'hidden' });
    assert.equal(await focused(tab), 'Fetch kl-f8-anime');
    assert.equal(await tab.locator('[aria-label="Fetch taesd"]').isEnabled(), true);
    const kept = await tab.evaluate(async () => {
      const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('models');
      return Array.fromAsync(folder.keys());
    });
    assert.deepEqual(kept, []);
    await done();
    await hub.close();
  });

  test('pictures, latents and ONNX folders are saved, and latents open again', async () => {
    const { tab, done } = await visit(browser, server.url);
    await tab.selectOption('#longest-side', '256');
    await roundTrip(tab);
    const saved = async (button) => {
      const [download] = await Promise.all([tab.waitForEvent('download'), tab.click(button)]);
      return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) };
    };
    const png = await saved('#save-png');
    assert.equal(png.name, 'astronaut-starter.png');
    assert.equal(png.bytes.subarray(1, 4).toString(), 'PNG');
    const npy = await saved('#save-npy');
    assert.equal(npy.bytes.subarray(1, 6).toString(), 'NUMPY');
    const latents = await saved('#save-safetensors');
    assert.equal((await saved('#save-latent')).name, 'astronaut.latent');
    await go(tab, 'models');
    const zip = await saved('[aria-label="Save as ONNX starter"]');
    assert.equal(zip.bytes.subarray(0, 2).toString(), 'PK');
    assert.ok(zip.bytes.includes('vae_decoder/model.onnx'));

    await tab.setInputFiles('#pick', file('back.safetensors', latents.bytes));
    await tab.waitForSelector('#roundtrip-stages:not([hidden])');
    assert.match(await tab.locator('#roundtrip-source').innerText(), /back\.safetensors/);
    assert.equal((await figure(tab, 'roundtrip-facts', 'Picture')).trim(), '256 × 256');
    await done();
  });

  test('all of it works by keyboard', async () => {
    const { tab, done } = await visit(browser, server.url);
    await tab.keyboard.press('Tab');
    assert.equal(await tab.evaluate(() => document.activeElement.className), 'skip');
    await tab.keyboard.press('Enter');
    assert.equal(await tab.evaluate(() => document.activeElement.id), 'main');
    await tab.keyboard.press('Tab');
    assert.equal(await tab.evaluate(() => document.activeElement.id), 'run');
    await tab.selectOption('#longest-side', '256');
    await tab.focus('#run');
    await tab.keyboard.press('Enter');
    await tab.waitForSelector('#roundtrip-stages:not([hidden])');
    const divider = tab.locator('#roundtrip-pictures [role=slider]');
    await divider.focus();
    await tab.keyboard.press('ArrowRight');
    assert.equal(await divider.getAttribute('aria-valuenow'), '52');
    await tab.keyboard.press('Home');
    assert.equal(await divider.getAttribute('aria-valuenow'), '0');
    const zoom = tab.locator('#roundtrip-pictures .zoom');
    const whole = await zoom.innerText();
    await tab.keyboard.press('+');
    assert.notEqual(await zoom.innerText(), whole);
    await tab.keyboard.press('0');
    assert.equal(await zoom.innerText(), whole);
    await tab.locator('#roundtrip-pictures [value=slider]').focus();
    await tab.keyboard.press('ArrowRight');
    await tab.keyboard.press('ArrowRight');
    await shoot(tab, 'difference');
    assert.equal(await tab.locator('#roundtrip-pictures .gain').isVisible(), true);
    await tab.keyboard.press('?');
    assert.equal(await tab.locator('#help').isVisible(), true);
    await shoot(tab, 'help');
    await tab.keyboard.press('Escape');
    assert.equal(await tab.locator('#help').isVisible(), false);
    await done();
  });

  for (const [name, options] of [
    ['phone', { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
    ['dark', { colorScheme: 'dark' }],
    ['light', { colorScheme: 'light', reducedMotion: 'reduce' }],
  ]) {
    test(`fits and is accessible: ${name}`, async () => {
      const { tab, done } = await visit(browser, server.url, { ...options, bypassCSP: true });
      await shoot(tab, `${name}-first`);
      await tab.selectOption('#longest-side', '256');
      await roundTrip(tab);
      for (const view of ['roundtrip', 'playground', 'compare', 'models']) {
        await go(tab, view);
        if (view === 'playground') await tab.waitForSelector('#playground-facts dd');
        const { over, violations } = await audit(tab);
        assert.equal(over, 0, `${view} is ${over} pixels too wide`);
        assert.deepEqual(violations, [], view);
        await shoot(tab, `${name}-${view}`, { fullPage: true });
      }
      await done();
    });
  }
});

/** Pixels that the page is too wide, and what axe finds; with the page's policy bypassed. */
async function audit(tab) {
  const axe = await readFile(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
  return tab.evaluate(async (axe) => {
    if (!globalThis.axe) new Function(axe)();
    const { violations } = await globalThis.axe.run();
    return {
      over: document.documentElement.scrollWidth - innerWidth,
      violations: violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(', ')}`),
    };
  }, axe);
}

/** In the service worker: nothing more can be kept. */
function withFullStorage() {
  Cache.prototype.put = async () => {
    throw new DOMException('the disk is full', 'QuotaExceededError');
  };
}

/** The sample, larger. */
async function enlarged(tab, side) {
  const base64 = await tab.evaluate(async (side) => {
    const bitmap = await createImageBitmap(await (await fetch('samples/astronaut.png')).blob());
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = side;
    canvas.getContext('2d').drawImage(bitmap, 0, 0, side, side);
    return canvas.toDataURL('image/jpeg').split(',')[1];
  }, side);
  return Buffer.from(base64, 'base64');
}

/** A bare checkpoint may not say how its latents are scaled; the page then asks under Models. */
async function scaleIfAsked(tab) {
  const asked = tab.locator(PROBLEM, { hasText: 'scaling' });
  const added = tab.locator('#compare-choice label', { hasText: 'kl-ldm-f16' });
  await asked.or(added).first().waitFor();
  if (!(await asked.isVisible())) return;
  await go(tab, 'models');
  await tab.locator('#model-list li', { hasText: 'kl-ldm-f16' }).locator('select').selectOption('sd1');
  await go(tab, 'compare');
}
