import { convert } from 'vaekit';

import type { App, View } from '../app';
import { byId, download, el } from '../dom';
import { rebuild } from '../focus';
import { bytes } from '../format';
import { canKeep } from '../models/keep';
import { basename, type Model, source } from '../models/model';
import { Job, type Work } from '../parts/job';

/** The families whose scaling a checkpoint may need to be told, as `--scaling` names them. */
const SCALINGS = {
  sd1: 'SD 1 and 2',
  sdxl: 'SDXL',
  sd3: 'SD 3',
  flux1: 'FLUX.1',
  playground: 'Playground v2.5',
  'x4-upscaler': 'x4 upscaler',
  sana: 'Sana',
};

/** The VAEs at hand: choosing, keeping, converting, deleting. */
export class Models implements View {
  readonly job: Job;

  constructor(readonly app: App) {
    this.job = new Job(byId('models-job', HTMLElement), app.engineLane);
    const show = (): void => {
      const { models, chosen } = app.library;
      const items = models.value.map((model) => this.#item(model, model === chosen.value));
      rebuild(byId('model-list', HTMLElement), items, byId('at-hand', HTMLElement));
      void showStorage(models.value);
    };
    app.library.models.watch(show);
    app.library.chosen.watch(show);
  }

  #item(model: Model, chosen: boolean): HTMLElement {
    const { library } = this.app;
    const button = (label: string, action: () => void): HTMLElement =>
      el('button', { type: 'button', class: 'quiet', onclick: action, 'aria-label': `${label} ${model.name}` }, label);
    const work = (action: (work: Work) => Promise<void>) => () =>
      void this.job.run(action);
    return el(
      'li',
      chosen ? { 'aria-current': true } : {},
      el(
        'div',
        { class: 'about' },
        el('h3', {}, model.name, ...(chosen ? [el('span', { class: 'badge' }, 'in use')] : [])),
        el('p', { class: 'muted' }, `${bytes(model.bytes)}, ${model.origin}${model.kept ? ', kept in this browser' : ''}`),
        ...recorded(model).map((line) => el('p', { class: 'muted' }, line)),
        ...(model.builtin || model.config ? [] : [this.#scaling(model)]),
      ),
      el(
        'div',
        { class: 'row' },
        ...(chosen ? [] : [button('Use', () => library.choose(model.id))]),
        ...(model.kept || model.builtin || !canKeep() ? [] : [button('Keep', work((w) => library.keep(model, w)))]),
        button('Save as ONNX', work(async (w) => {
          const folder = await convert(source(await model.files(w)), {
            ...w,
            name: model.name,
            ...(model.config && { config: model.config }),
            ...(model.scaling && { scaling: model.scaling }),
          });
          download(folder.zip(), `${model.name}.zip`);
        })),
        ...(model.builtin ? [] : [button(model.kept ? 'Delete' : 'Forget', work(() => library.remove(model)))]),
      ),
    );
  }

  #scaling(model: Model): HTMLElement {
    const known = !model.scaling || model.scaling in SCALINGS;
    const select = el(
      'select',
      { 'aria-label': `Latents scaled as, ${model.name}` },
      el('option', { value: '' }, 'as the file says'),
      ...Object.entries(SCALINGS).map(([value, label]) => el('option', { value }, label)),
      ...(known ? [] : [el('option', { value: model.scaling! }, `factor ${model.scaling}`)]),
    );
    select.value = model.scaling ?? '';
    select.addEventListener('change', () => void this.job.run(() => this.app.library.scale(model, select.value || undefined)));
    return el('label', { class: 'muted' }, 'Latents scaled as ', select);
  }
}

/** Hashes that nobody knew before the files were fetched. */
const recorded = ({ hashes = {} }: Model): string[] =>
  Object.entries(hashes)
    .filter(([, { known }]) => !known)
    .map(([path, { sha256 }]) => `sha256 of ${basename(path)}, not known before and recorded when it was fetched: ${sha256}`);

async function showStorage(models: Model[]): Promise<void> {
  const kept = models.filter((model) => model.kept).reduce((sum, model) => sum + model.bytes, 0);
  const { quota = 0, usage = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  byId('storage', HTMLElement).textContent = canKeep()
    ? `${bytes(kept)} kept in this browser, room for ${bytes(Math.max(0, quota - usage))}`
    : 'This browser keeps no models; they last for this visit.';
}
