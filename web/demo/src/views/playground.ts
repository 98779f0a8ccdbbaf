import { type Encoded, metrics, type Vae } from 'vaekit';

import type { App, View } from '../app';
import { announce, byId } from '../dom';
import { decibels, similarity } from '../format';
import { picture as pictureFile } from '../given';
import { mix, type Recipe } from '../latent-space';
import { klFact, showFacts } from '../parts/facts';
import { Job, type Work } from '../parts/job';
import { LatentsView } from '../parts/latents-view';
import { PictureCompare } from '../parts/picture-compare';
import { covering, draw, mirrored, type Picture, type PictureFile, readPicture } from '../picture';

/** Quick enough to follow a slider. */
const SIDE = 256;

/** Both ends of the blend, encoded by one VAE. */
interface Ends {
  vae: Vae;
  /** {@link Playground.#given} then. */
  given: number;
  a: { image: ImageData; encoded: Encoded };
  b: { encoded: Encoded };
}

const LESSONS = {
  start: 'The encoder’s own latents: what comes back is what this VAE remembers of A.',
  blend:
    'Halfway, both pictures show through each other: these latents keep places and colours, not ideas. Blending what a picture means is the diffusion model’s work.',
  noise:
    'A little noise is forgiven, more of it breaks texture first and colour last. A diffusion model removes such noise step by step.',
  spread:
    'The encoder gives a mean and a deviation for each latent. At × 1, a true sample, nearly nothing changes: it is sure of what it saw.',
};

/** Latents blended, sampled and made noisy, decoded as the sliders move. */
export class Playground implements View {
  readonly job: Job;
  readonly #pictures = byId('playground-pictures', PictureCompare);
  readonly #latents = new LatentsView(byId('playground-latents', HTMLElement));
  readonly #inputs = {
    blend: byId('blend', HTMLInputElement),
    noise: byId('noise', HTMLInputElement),
    spread: byId('spread', HTMLInputElement),
    seed: byId('seed', HTMLInputElement),
  };
  #second: PictureFile | undefined;
  #ends: Ends | undefined;
  /** Counts how often there was another picture or VAE. */
  #given = 0;
  #shown = false;

  constructor(readonly app: App) {
    this.job = new Job(byId('playground-job', HTMLElement), app.engineLane, true);
    for (const name of ['blend', 'noise', 'spread'] as const) {
      this.#inputs[name].addEventListener('input', () => {
        byId('playground-lesson', HTMLElement).textContent = LESSONS[name];
        void this.#update();
      });
    }
    this.#inputs.seed.addEventListener('change', () => void this.#update());
    byId('new-seed', HTMLElement).addEventListener('click', () => {
      this.#inputs.seed.value = String(crypto.getRandomValues(new Uint16Array(1))[0]!);
      void this.#update();
    });
    byId('reset', HTMLElement).addEventListener('click', () => this.#reset());
    byId('pick-b', HTMLElement).addEventListener('click', () => this.#pickSecond());
    app.picture.watch(() => this.#renew());
    app.library.chosen.watch(() => this.#renew());
    byId('playground-lesson', HTMLElement).textContent = LESSONS.start;
    this.#showAmounts();
  }

  enter(): void {
    this.#shown = true;
    if (this.#ends?.given !== this.#given) void this.#update();
  }

  leave(): void {
    this.#shown = false;
  }

  get #recipe(): Recipe {
    const { blend, noise, spread, seed } = this.#inputs;
    return {
      blend: blend.valueAsNumber,
      noise: noise.valueAsNumber,
      spread: spread.disabled ? 0 : spread.valueAsNumber,
      seed: seed.valueAsNumber || 0,
    };
  }

  /** Makes the ends anew, now or when somebody comes. */
  #renew(): void {
    this.#given++;
    this.job.cancel();
    if (this.#shown) void this.#update();
  }

  async #update(): Promise<void> {
    this.#showAmounts();
    await this.job.run(async (work) => {
      const { vae, a, b } = await this.#encodeEnds(work);
      const { latents, kl: nats } = mix(a.encoded, b.encoded, this.#recipe);
      this.#latents.show(latents);
      const decoded = await vae.decode(latents, { ...work, cropTo: a.encoded.imageSize });
      const { image } = decoded;
      this.app.engine.refresh();
      const { psnr, ssim } = await metrics(a.image, image);
      work.signal.throwIfAborted();
      this.#pictures.show({ label: 'Picture A', image: a.image }, { label: 'Decoded', image });
      showFacts(byId('playground-facts', HTMLElement), [
        ['PSNR against A', decibels(psnr)],
        ['SSIM against A', similarity(ssim)],
        ...(nats === undefined ? [] : [klFact(nats, latents.data.length)]),
      ]);
      announce(`Decoded, ${decibels(psnr)} against A`);
    });
  }

  /** Encodes A and B once for each pair and VAE. */
  async #encodeEnds(work: Work): Promise<Ends> {
    const vae = await this.app.engine.vae(this.app.library.chosen.value, work);
    const given = this.#given;
    if (this.#ends?.vae === vae && this.#ends.given === given) return this.#ends;
    const first = await readPicture(this.app.picture.value, SIDE);
    const second = await this.#readSecond(first);
    work.signal.throwIfAborted();
    this.#showEnd('a', first);
    this.#showEnd('b', second);
    const a = await vae.encode(first.image, work);
    const b = await vae.encode(second.image, work);
    this.#inputs.spread.disabled = !a.posterior;
    this.#ends = { vae, given, a: { image: first.image, encoded: a }, b: { encoded: b } };
    return this.#ends;
  }

  /** The picture chosen as B, cut to A's size; without one, A in the mirror. */
  async #readSecond(first: Picture): Promise<Picture> {
    if (!this.#second) return { ...first, name: 'A in the mirror', image: mirrored(first.image) };
    const second = await readPicture(this.#second, 2 * SIDE);
    return { ...second, image: await covering(second.image, first.image.width, first.image.height) };
  }

  #showEnd(end: 'a' | 'b', { name, image }: Picture): void {
    draw(byId(`end-${end}`, HTMLCanvasElement), image);
    byId(`end-${end}-name`, HTMLElement).textContent = name;
  }

  #pickSecond(): void {
    const input = document.createElement('input');
    input.type = 'file';
    input.accept = 'image/*';
    input.addEventListener('change', () => {
      const file = input.files?.[0];
      if (!file) return;
      this.#second = pictureFile(file);
      this.#inputs.blend.value = '0.5';
      this.#renew();
    });
    input.click();
  }

  #reset(): void {
    const { blend, noise, spread, seed } = this.#inputs;
    for (const input of [blend, noise, spread]) input.value = '0';
    seed.value = '1';
    byId('playground-lesson', HTMLElement).textContent = LESSONS.start;
    void this.#update();
  }

  #showAmounts(): void {
    const { blend, noise, spread } = this.#recipe;
    byId('blend-out', HTMLElement).textContent = `${Math.round(blend * 100)} %`;
    byId('noise-out', HTMLElement).textContent = `${noise.toFixed(2)} σ`;
    byId('spread-out', HTMLElement).textContent = this.#inputs.spread.disabled ? 'none' : `× ${spread.toFixed(1)}`;
  }
}
