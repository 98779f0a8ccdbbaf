import { Signal } from '../signal';
import type { Work } from '../parts/job';
import { keep, keepScaling, keptModels, removeKept } from './keep';
import type { Bytes, Model } from './model';
import { starter } from './starter';

/** The VAEs at hand, and the one that is chosen. */
export class Library {
  readonly models = new Signal<Model[]>([starter]);
  readonly chosen = new Signal<Model>(starter);

  /** Reads what earlier visits kept. */
  async load(): Promise<void> {
    for (const model of await keptModels()) this.#put(model);
  }

  /** The same under a name that no other has: people choose by it. */
  distinct(model: Model): Model {
    const taken = new Set(this.models.value.filter(({ id }) => id !== model.id).map(({ name }) => name));
    let { name } = model;
    for (let n = 2; taken.has(name); n++) name = `${model.name} (${n})`;
    return name === model.name ? model : { ...model, name };
  }

  add(model: Model): Model {
    this.#put(model);
    this.chosen.value = model;
    return model;
  }

  choose(id: string): void {
    const model = this.models.value.find((model) => model.id === id);
    if (model) this.chosen.value = model;
  }

  /** Copies a model's files into this browser's storage. */
  async keep(model: Model, work: Work): Promise<void> {
    const files = await model.files(work);
    let done = 0;
    const counted = (blob: Blob): ReadableStream<Bytes> =>
      blob.stream().pipeThrough(
        new TransformStream<Bytes, Bytes>({
          transform(chunk, controller) {
            done += chunk.byteLength;
            work.onProgress({ stage: `Keeping ${model.name}`, done, total: model.bytes });
            controller.enqueue(chunk);
          },
        }),
      );
    this.#put(await keep(model, new Map([...files].map(([path, blob]) => [path, counted(blob)])), work));
  }

  async remove(model: Model): Promise<void> {
    if (model.kept) await removeKept(model.id);
    this.models.value = this.models.value.filter(({ id }) => id !== model.id);
    if (this.chosen.value.id === model.id) this.chosen.value = starter;
  }

  /** Says which family's scaling a model has; `undefined` leaves it to the file. */
  async scale(model: Model, scaling: string | undefined): Promise<void> {
    const { scaling: _, ...rest } = model;
    this.#put({ ...rest, ...(scaling && { scaling }) });
    if (model.kept) await keepScaling(model.id, scaling);
  }

  #put(model: Model): void {
    const others = this.models.value.filter(({ id }) => id !== model.id);
    this.models.value = [...others, model];
    if (this.chosen.value.id === model.id) this.chosen.value = model;
  }
}
