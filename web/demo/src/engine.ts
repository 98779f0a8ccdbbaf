import { Vae, type VaeInfo } from 'vaekit';

import { type Model, source } from './models/model';
import type { Work } from './parts/job';
import { type Settings, settings } from './settings';
import { Signal } from './signal';

/** What is loaded, and of what: names and sizes of two models may be equal. */
interface Loaded {
  model: Model;
  engine: Settings['engine'];
  threads: number;
  vae: Vae;
}

/** The one VAE that is loaded: weights are large, so another one takes its place. */
export class Engine {
  readonly info = new Signal<VaeInfo | undefined>(undefined);
  #loaded: Loaded | undefined;
  /** Loading is one at a time, whoever asks. */
  #turn: Promise<unknown> = Promise.resolve();

  vae(model: Model, work: Work): Promise<Vae> {
    const next = this.#turn.then(() => this.#load(model, work));
    this.#turn = next.then(
      () => undefined,
      () => undefined,
    );
    return next;
  }

  /** Says what runs now: an engine that failed may have made room for another. */
  refresh(): void {
    const info = this.#loaded?.vae.info;
    if (info !== this.info.value) this.info.value = info;
  }

  async #load(model: Model, work: Work): Promise<Vae> {
    work.signal.throwIfAborted();
    const { engine } = settings.value;
    const threads = threadsFor(engine);
    const loaded = this.#loaded;
    if (loaded?.model === model && loaded.engine === engine && loaded.threads === threads) return loaded.vae;
    loaded?.vae.dispose();
    this.#loaded = undefined;
    this.info.value = undefined;
    const files = await model.files(work);
    const vae = await Vae.load(source(files), {
      ...work,
      engine,
      name: model.name,
      ...(threads > 0 && { threads }),
      ...(model.config && { config: model.config }),
      ...(model.scaling && { scaling: model.scaling }),
    });
    this.#loaded = { model, engine, threads, vae };
    this.info.value = vae.info;
    return vae;
  }
}

/** As many as were chosen, where they can be had: other engines have one, and so have pages that are not isolated; 0 leaves it open. */
const threadsFor = (engine: Settings['engine']): number =>
  crossOriginIsolated && (engine === 'auto' || engine === 'cpu') ? settings.value.threads : 0;
