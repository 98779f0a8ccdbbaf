import { type Encoded, metrics, readLatents, saveLatents, type Vae } from 'vaekit';

import type { App, View } from '../app';
import { announce, byId, download, el } from '../dom';
import { explain } from '../errors';
import { bytes, count, decibels, number, seconds, similarity, size, stem } from '../format';
import { klFact, showFacts } from '../parts/facts';
import { Job, type Work } from '../parts/job';
import { LatentsView } from '../parts/latents-view';
import { PictureCompare } from '../parts/picture-compare';
import { type Picture, readPicture, toPng } from '../picture';
import { SAMPLE } from '../sample';
import { report } from '../report';
import { settings } from '../settings';
import { type Stage, stagesOf, tilesFact } from '../stages';

/** What came out last, for the save buttons. */
interface Result {
  name: string;
  vae: Vae;
  latents: Encoded['latents'];
  image: ImageData;
  stages: Stage[];
}

/** Picture to latents to picture; or a file of latents to a picture. */
export class RoundTrip implements View {
  readonly job: Job;
  readonly #pictures = byId('roundtrip-pictures', PictureCompare);
  readonly #latents = new LatentsView(byId('roundtrip-latents', HTMLElement));
  readonly #run = byId('run', HTMLButtonElement);
  readonly #domain = byId('domain', HTMLSelectElement);
  #file: File | undefined;
  #result: Result | undefined;

  constructor(readonly app: App) {
    this.job = new Job(byId('roundtrip-job', HTMLElement), app.engineLane);
    this.#run.addEventListener('click', () => void this.run());
    this.#domain.addEventListener('change', () => void this.run());
    byId('sample', HTMLButtonElement).addEventListener('click', () => {
      app.picture.value = SAMPLE;
    });
    app.picture.watch(() => void this.#preview());
    let side = settings.value.longestSide;
    settings.watch(({ longestSide }) => {
      if (longestSide !== side && !this.#file) void this.#preview();
      side = longestSide;
    });
    this.#bindSaves();
  }

  given(): void {
    void this.run();
  }

  /** Decodes a file of latents. */
  open(latents: File): void {
    this.#file = latents;
    this.#clear();
    this.#domain.value = '';
    this.#describe(`${latents.name}, ${bytes(latents.size)}`);
    void this.run();
  }

  async run(): Promise<void> {
    const file = this.#file;
    const result = await this.job.run((work) => (file ? this.#decodeFile(file, work) : this.#roundTrip(work)));
    if (!result) return;
    this.#result = result;
    this.app.engine.refresh();
    byId('starter-note', HTMLElement).hidden = !this.app.library.chosen.value.builtin;
    announce(`Decoded by ${result.vae.info.name}`);
  }

  /** Shows the picture that is chosen now, whose results are not there yet. */
  async #preview(): Promise<void> {
    this.job.cancel();
    this.#file = undefined;
    this.#clear();
    const [file, { longestSide }] = [this.app.picture.value, settings.value];
    // Meanwhile there may be another picture or size, or latents.
    const isLatest = (): boolean =>
      file === this.app.picture.value && longestSide === settings.value.longestSide && !this.#file;
    try {
      const picture = await readPicture(file, longestSide);
      if (!isLatest()) return;
      this.#describe(sourceLine(picture));
      if (!this.#result) this.#pictures.show({ label: 'Original', image: picture.image });
    } catch (error) {
      if (isLatest()) this.job.fail(explain(error));
    }
  }

  async #roundTrip(work: Work): Promise<Result> {
    const picture = await readPicture(this.app.picture.value, settings.value.longestSide);
    const vae = await this.app.engine.vae(this.app.library.chosen.value, work);
    const encoded = await vae.encode(picture.image, work);
    this.#showLatents(encoded.latents);
    const decoded = await vae.decode(encoded.latents, { ...work, cropTo: encoded.imageSize });
    const { image } = decoded;
    const { psnr, ssim } = await metrics(picture.image, image);
    work.signal.throwIfAborted();
    this.#pictures.show({ label: 'Original', image: picture.image }, { label: `Decoded by ${vae.info.name}`, image });

    const { width, height } = picture.image;
    const [pixels, latents] = [width * height * 3, encoded.latents.data.length];
    showFacts(byId('roundtrip-facts', HTMLElement), [
      ['PSNR', decibels(psnr)],
      ['SSIM', similarity(ssim)],
      ...(encoded.posterior ? [klFact(encoded.posterior.kl, latents)] : []),
      ['Picture', `${count(pixels)} numbers`, `${size(width, height)} × 3`],
      ['Latents', `${count(latents)} numbers`, `${latentSize(encoded.latents)}, ${(pixels / latents).toFixed(0)} times fewer`],
      ...tilesFact(encoded, decoded),
    ]);
    const stages = [...stagesOf('encode', encoded), ...stagesOf('decode', decoded)];
    this.#showStages(stages);
    return { name: stem(picture.name), vae, latents: encoded.latents, image, stages };
  }

  async #decodeFile(file: File, work: Work): Promise<Result> {
    const vae = await this.app.engine.vae(this.app.library.chosen.value, work);
    const domain = this.#domain.value as 'raw' | 'scaled' | '';
    const decoded = await vae.decode(file, { ...work, ...(domain && { domain }) });
    const latents = await readLatents(file);
    work.signal.throwIfAborted();
    const { image } = decoded;
    this.#showLatents(latents);
    this.#pictures.show(undefined, { label: `Decoded by ${vae.info.name}`, image });
    showFacts(byId('roundtrip-facts', HTMLElement), [
      ['Latents', `${count(latents.data.length)} numbers`, latentSize(latents)],
      ['Picture', size(image.width, image.height)],
      ...tilesFact(decoded),
    ]);
    const stages = stagesOf('decode', decoded);
    this.#showStages(stages);
    return { name: stem(file.name), vae, latents, image, stages };
  }

  #describe(source: string): void {
    byId('roundtrip-source', HTMLElement).textContent = source;
    this.#run.textContent = this.#file ? 'Decode' : 'Encode and decode';
    byId('domain-row', HTMLElement).hidden = !this.#file;
    byId('sample', HTMLElement).hidden = this.app.picture.value === SAMPLE && !this.#file;
  }

  #clear(): void {
    this.#result = undefined;
    for (const id of ['roundtrip-results', 'roundtrip-latents', 'roundtrip-stages']) byId(id, HTMLElement).hidden = true;
  }

  #showLatents(latents: Encoded['latents']): void {
    const [, channels, height, width] = latents.shape;
    byId('roundtrip-latents', HTMLElement).hidden = false;
    byId('latents-lead', HTMLElement).textContent =
      `${channels} channels of ${size(width, height)}, ${latents.domain}. Under each: its number and the range of its values.`;
    this.#latents.show(latents);
  }

  #showStages(stages: Stage[]): void {
    const rows = stages.map(({ name, seconds: time, gflops, peakBytes }) =>
      el(
        'tr',
        {},
        el('th', { scope: 'row' }, name),
        el('td', { class: 'n' }, seconds(time)),
        el('td', { class: 'n' }, gflops === undefined ? '' : number(gflops)),
        el('td', { class: 'n' }, peakBytes === undefined ? '' : bytes(peakBytes)),
      ),
    );
    byId('stage-rows', HTMLElement).replaceChildren(...rows);
    for (const id of ['roundtrip-results', 'roundtrip-stages']) byId(id, HTMLElement).hidden = false;
  }

  async #copyReport(): Promise<void> {
    if (!this.#result) return;
    const { vae, image, stages } = this.#result;
    try {
      await navigator.clipboard.writeText(await report(vae.info, size(image.width, image.height), stages));
      announce('The report was copied');
      const button = byId('copy-report', HTMLButtonElement);
      button.textContent = 'Copied';
      setTimeout(() => (button.textContent = 'Copy a report'), 2000);
    } catch (error) {
      this.job.fail(explain(error));
    }
  }

  #bindSaves(): void {
    byId('copy-report', HTMLButtonElement).addEventListener('click', () => void this.#copyReport());
    const save = (id: string, make: (result: Result) => Promise<[Blob, string]>): void =>
      byId(id, HTMLButtonElement).addEventListener('click', () => {
        if (!this.#result) return;
        make(this.#result).then(
          ([blob, name]) => download(blob, name),
          (error: unknown) => this.job.fail(explain(error)),
        );
      });
    save('save-png', async ({ image, name, vae }) => [await toPng(image), `${name}-${vae.info.name}.png`]);
    for (const format of ['safetensors', 'latent', 'npy'] as const) {
      save(`save-${format}`, async ({ latents, name, vae }) => [await saveLatents(latents, format, vae), `${name}.${format}`]);
    }
  }
}

function sourceLine({ name, image, original }: Picture): string {
  const shrunk = image.width < original.width;
  const now = size(image.width, image.height);
  return shrunk ? `${name}, ${size(original.width, original.height)} shrunk to ${now}` : `${name}, ${now}`;
}

const latentSize = ({ shape: [, channels, height, width] }: Encoded['latents']): string =>
  `${size(width, height)} × ${channels}`;
