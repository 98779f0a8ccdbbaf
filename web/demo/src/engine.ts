import { Vae, type VaeInfo } from 'vaekit';

import { type Model, source } from './models/model';
import type { Work } from './parts/job';
import { settings } from './settings';
import { Signal } from './signal';

/** The one VAE that is loaded: weights are large, so another one takes its place. */
export class Engine {
  readonly info = new Signal<VaeInfo | undefined>(undefined);
  #loaded: { key: string; vae: Vae } | undefined;
  /** Loading is one at a time, whoever asks. */
  #turn: Promise<unknown> = Promise.resolve();

  vae(model: Model, work: Work): Promise<Vae> {
    const next = this.#turn.catch(() => undefined).then(() => this.#load(model, work));
    this.#turn = next;
    return next;
  }

  /** Says what runs now: an engine that failed may have made room for another. */
  refresh(): void {
    const info = this.#loaded?.vae.info;
    if (info !== this.info.value) this.info.value = info;
  }

  async #load(model: Model, work: Work): Promise<Vae> {
    work.signal.throwIfAborted();
    const { engine, threads } = settings.value;
    const key = JSON.stringify([model.id, model.scaling, engine, threads]);
    if (this.#loaded?.key === key) return this.#loaded.vae;
    this.#loaded?.vae.dispose();
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
    this.#loaded = { key, vae };
    this.info.value = vae.info;
    return vae;
  }
}
