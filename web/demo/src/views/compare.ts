import { metrics, type VaeInfo } from 'vaekit';

import type { App, View } from '../app';
import { announce, byId, el } from '../dom';
import { rebuild } from '../focus';
import { bytes, count, decibels, seconds, similarity, size } from '../format';
import type { Model } from '../models/model';
import { Job, type Work } from '../parts/job';
import { PictureCompare, type Shown } from '../parts/picture-compare';
import { readPicture } from '../picture';
import { settings } from '../settings';

const MOST = 3;

/** PSNR nearer than this is no difference that anybody sees. */
const NOTICEABLE = 0.3;

/** What one VAE made of the picture. */
interface Entry {
  info: VaeInfo;
  image: ImageData;
  psnr: number;
  ssim: number;
  kl: number | undefined;
  latents: string;
  encode: number;
  decode: number;
  peakBytes: number;
}

/** One picture through two or three VAEs. */
export class Compare implements View {
  readonly job: Job;
  readonly #choice = byId('compare-choice', HTMLFieldSetElement);
  readonly #button = byId('compare-run', HTMLButtonElement);
  readonly #pictures = byId('compare-pictures', PictureCompare);
  readonly #sides = [byId('compare-left', HTMLSelectElement), byId('compare-right', HTMLSelectElement)] as const;
  #shown: Shown[] = [];

  constructor(readonly app: App) {
    this.job = new Job(byId('compare-job', HTMLElement), app.engineLane);
    app.library.models.watch((models) => this.#offer(models));
    this.#choice.addEventListener('change', () => this.#limit());
    this.#button.addEventListener('click', () => void this.#run());
    for (const side of this.#sides) side.addEventListener('change', () => this.#show());
    app.picture.watch(() => {
      this.job.cancel();
      this.#showResults([], []);
    });
  }

  enter(): void {
    if (this.#shown.length === 0) void this.#preview();
  }

  given(): void {
    void this.#preview();
  }

  get #chosen(): Model[] {
    const ids = new Set([...this.#choice.querySelectorAll('input')].filter((box) => box.checked).map((box) => box.value));
    return this.app.library.models.value.filter(({ id }) => ids.has(id));
  }

  #offer(models: Model[]): void {
    const before = new Set(this.#chosen.map(({ id }) => id));
    const known = new Set([...this.#choice.querySelectorAll('input')].map((box) => box.value));
    const boxes = models.map(({ id, name, bytes: total }) => {
      // New models are what somebody just came with: take them while there is room.
      const checked = before.has(id) || (!known.has(id) && before.size < MOST);
      if (checked) before.add(id);
      return el('label', {}, el('input', { type: 'checkbox', value: id, checked }), name, el('small', {}, bytes(total)));
    });
    rebuild(this.#choice, [this.#choice.querySelector('legend')!, ...boxes], this.#button);
    this.#limit();
  }

  #limit(): void {
    const chosen = this.#chosen.length;
    for (const box of this.#choice.querySelectorAll('input')) box.disabled = !box.checked && chosen >= MOST;
    this.#button.disabled = chosen < 2;
    byId('compare-hint', HTMLElement).replaceChildren(
      ...(this.app.library.models.value.length < 2
        ? ['Only one VAE is at hand. Drop another one here, or fetch one under ', el('a', { href: '#models' }, 'Models'), '.']
        : chosen < 2
          ? ['Choose two or three.']
          : []),
    );
  }

  async #preview(): Promise<void> {
    await this.job.run(async ({ signal }) => {
      const { image } = await readPicture(this.app.picture.value, settings.value.longestSide);
      signal.throwIfAborted();
      this.#showResults([{ label: 'Original', image }], []);
    });
  }

  async #run(): Promise<void> {
    const models = this.#chosen;
    const compared = await this.job.run(async (work) => {
      const { image } = await readPicture(this.app.picture.value, settings.value.longestSide);
      const original = { label: 'Original', image };
      const entries: Entry[] = [];
      for (const model of models) {
        entries.push(await this.#measure(model, image, work));
        this.#showResults([original, ...entries.map(({ info, image }) => ({ label: info.name, image }))], entries);
      }
      return entries;
    });
    if (compared) announce(verdict(compared));
  }

  async #measure(model: Model, picture: ImageData, { signal, onProgress }: Work): Promise<Entry> {
    const work: Work = { signal, onProgress: (p) => onProgress({ ...p, stage: `${model.name}: ${p.stage}` }) };
    const vae = await this.app.engine.vae(model, work);
    const encoded = await vae.encode(picture, work);
    const decoded = await vae.decode(encoded.latents, { ...work, cropTo: encoded.imageSize });
    const { image } = decoded;
    this.app.engine.refresh();
    const likeness = await metrics(picture, image);
    signal.throwIfAborted();
    const [, channels, height, width] = encoded.latents.shape;
    return {
      info: vae.info,
      image,
      ...likeness,
      kl: encoded.posterior?.kl,
      latents: `${size(width, height)} × ${channels}`,
      encode: total(encoded.seconds),
      decode: total(decoded.seconds),
      peakBytes: Math.max(encoded.peakBytes, decoded.peakBytes),
    };
  }

  #showResults(shown: Shown[], entries: Entry[]): void {
    this.#shown = shown;
    const [left, right] = this.#sides;
    const options = (): HTMLOptionElement[] => shown.map(({ label }, index) => el('option', { value: index }, label));
    for (const side of this.#sides) {
      side.replaceChildren(...options());
      side.disabled = shown.length < 2;
    }
    left.value = shown.length > 2 ? '1' : '0';
    right.value = String(shown.length - 1);
    this.#show();
    byId('compare-results', HTMLElement).hidden = entries.length === 0;
    byId('compare-rows', HTMLElement).replaceChildren(...entries.map(row));
    byId('compare-verdict', HTMLElement).textContent = entries.length > 1 ? verdict(entries) : '';
  }

  #show(): void {
    const [left, right] = this.#sides.map((side) => this.#shown[Number(side.value)]);
    this.#pictures.show(left, left === right ? undefined : right);
  }
}

const total = (stages: Record<string, number>): number => Object.values(stages).reduce((sum, s) => sum + s, 0);

function row({ info, psnr, ssim, kl, latents, encode, decode, peakBytes }: Entry): HTMLElement {
  const cells = [
    decibels(psnr),
    similarity(ssim),
    kl === undefined ? 'none' : count(Math.round(kl)),
    latents,
    seconds(encode),
    seconds(decode),
    bytes(peakBytes),
  ];
  return el('tr', {}, el('th', { scope: 'row' }, info.name), ...cells.map((cell) => el('td', { class: 'n' }, cell)));
}

/** One sentence that follows from the numbers; no winner where nobody would see one. */
function verdict(entries: Entry[]): string {
  const [best, second] = [...entries].sort((a, b) => b.psnr - a.psnr) as [Entry, Entry];
  const gap = best.psnr - second.psnr;
  if (gap < NOTICEABLE) {
    return `${best.info.name} and ${second.info.name} are ${gap.toFixed(2)} dB apart: on this picture, neither is better. Look at the details that matter to you.`;
  }
  const likeness = best.ssim >= second.ssim ? 'and its structure is at least as alike' : `although ${second.info.name} is more alike in structure`;
  return `On this picture ${best.info.name} comes ${gap.toFixed(1)} dB closer than ${second.info.name}, ${likeness}. One picture is one picture: try others.`;
}
