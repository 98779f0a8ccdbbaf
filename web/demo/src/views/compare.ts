import { compare, type ComparedPicture, type Comparison, type Trip } from 'vaekit';

import type { App, View } from '../app';
import { announce, byId, el } from '../dom';
import { rebuild } from '../focus';
import { bytes } from '../format';
import { picture as pictureFile } from '../given';
import type { Model } from '../models/model';
import { showComparison, showRegions } from '../parts/comparison';
import { Job, type Work } from '../parts/job';
import { PictureCompare, type Shown } from '../parts/picture-compare';
import { type Picture, type PictureFile, readPicture } from '../picture';
import { settings } from '../settings';

const MOST = 3;

/** Pictures through two or three VAEs. */
export class Compare implements View {
  readonly job: Job;
  readonly #choice = byId('compare-choice', HTMLFieldSetElement);
  readonly #button = byId('compare-run', HTMLButtonElement);
  readonly #viewer = byId('compare-pictures', PictureCompare);
  readonly #picture = byId('compare-picture', HTMLSelectElement);
  readonly #sides = [byId('compare-left', HTMLSelectElement), byId('compare-right', HTMLSelectElement)] as const;
  readonly #fewer = byId('compare-fewer', HTMLButtonElement);
  /** Beside the one that all views work on. */
  #others: PictureFile[] = [];
  #compared: ComparedPicture[] = [];
  #comparison: Comparison | undefined;

  constructor(readonly app: App) {
    this.job = new Job(byId('compare-job', HTMLElement), app.engineLane);
    app.library.models.watch((models) => this.#offer(models));
    this.#choice.addEventListener('change', () => this.#limit());
    this.#button.addEventListener('click', () => void this.#run());
    for (const select of [this.#picture, ...this.#sides]) select.addEventListener('change', () => this.#show());
    const picker = byId('compare-pick', HTMLInputElement);
    byId('compare-add', HTMLButtonElement).addEventListener('click', () => picker.click());
    picker.addEventListener('change', () => {
      const files = [...(picker.files ?? [])].map(pictureFile);
      picker.value = '';
      this.add(files);
      void this.#preview();
    });
    this.#fewer.addEventListener('click', () => {
      this.#others = [];
      void this.#preview();
      byId('compare-add', HTMLButtonElement).focus();
    });
    app.picture.watch(() => {
      this.job.cancel();
      this.#others = [];
      this.#forget();
    });
  }

  enter(): void {
    if (this.#compared.length === 0) void this.#preview();
  }

  given(): void {
    void this.#preview();
  }

  /** More pictures to be compared on, beside the one that all views work on. */
  add(files: PictureFile[]): void {
    this.#others.push(...files);
  }

  get #files(): PictureFile[] {
    return [this.app.picture.value, ...this.#others];
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

  /** The pictures as they are. One that cannot be read does not stay. */
  async #preview(): Promise<void> {
    this.#forget();
    await this.job.run(async ({ signal }) => {
      this.#begin(await this.#read(signal));
    });
  }

  async #read(signal: AbortSignal): Promise<Picture[]> {
    const pictures: Picture[] = [];
    for (const file of this.#files) {
      try {
        pictures.push(await readPicture(file, settings.value.longestSide));
      } catch (error) {
        this.#others = this.#others.filter((other) => other !== file);
        throw error;
      }
      signal.throwIfAborted();
    }
    return pictures;
  }

  async #run(): Promise<void> {
    const models = this.#chosen;
    const comparison = await this.job.run(async (work) => {
      this.#forget();
      this.#begin(await this.#read(work.signal));
      for (const model of models) {
        for (const picture of this.#compared) {
          picture.trips.push(await this.#send(picture, model, work));
          this.#refresh();
        }
      }
      return compare(this.#compared, work);
    });
    if (!comparison) return;
    this.#comparison = comparison;
    this.#refresh();
    showComparison(comparison);
    announce(comparison.verdict.headline);
  }

  async #send({ name, original }: ComparedPicture, model: Model, { signal, onProgress }: Work): Promise<Trip> {
    const work: Work = { signal, onProgress: (p) => onProgress({ ...p, stage: `${model.name}, ${name}: ${p.stage}` }) };
    const vae = await this.app.engine.vae(model, work);
    const encoded = await vae.encode(original, work);
    const decoded = await vae.decode(encoded.latents, { ...work, cropTo: encoded.imageSize });
    this.app.engine.refresh();
    signal.throwIfAborted();
    return { vae: vae.info, encoded, decoded };
  }

  #forget(): void {
    this.#compared = [];
    this.#comparison = undefined;
    byId('compare-results', HTMLElement).hidden = true;
    this.#refresh();
  }

  #begin(pictures: Picture[]): void {
    this.#compared = pictures.map(({ name, image }) => ({ name, original: image, trips: [] }));
    this.#picture.replaceChildren(...pictures.map(({ name }, index) => el('option', { value: index }, name)));
    byId('compare-picture-row', HTMLElement).hidden = pictures.length < 2;
    this.#refresh();
  }

  /** Offers what is there by now, the last two VAEs if somebody has not chosen otherwise. */
  #refresh(): void {
    const names = this.#files.map(({ name }) => name);
    byId('compare-sources', HTMLElement).textContent = names.length === 1 ? names[0]! : `${names.length} pictures: ${names.join(', ')}`;
    this.#fewer.hidden = names.length === 1;
    const trips = this.#compared[0]?.trips ?? [];
    const labels = this.#comparison?.labels ?? trips.map(({ vae }) => vae.name);
    const options = ['Original', ...labels];
    const [left, right] = this.#sides;
    if (left.length !== options.length || this.#comparison) {
      for (const side of this.#sides) {
        const chosen = side.value;
        side.replaceChildren(...options.map((label, index) => el('option', { value: index }, label)));
        side.disabled = options.length < 2;
        if (this.#comparison) side.value = chosen;
      }
      if (!this.#comparison) {
        left.value = options.length > 2 ? '1' : '0';
        right.value = String(options.length - 1);
      }
    }
    this.#show();
  }

  #show(): void {
    const index = Math.max(0, this.#picture.selectedIndex);
    const picture = this.#compared[index];
    const [left, right] = this.#sides.map((side): Shown | undefined => {
      const image = side.value === '0' ? picture?.original : picture?.trips[Number(side.value) - 1]?.decoded.image;
      return image && { label: side.selectedOptions[0]!.text, image };
    });
    this.#viewer.show(left, left?.image === right?.image ? undefined : right);
    showRegions(this.#comparison?.pictures[index], (region) => this.#viewer.zoomTo(region));
  }
}
