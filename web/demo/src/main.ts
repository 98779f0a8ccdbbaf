import './styles/index.css';

import { devices } from 'vaekit';

import type { App, View } from './app';
import { byId, el } from './dom';
import { Engine } from './engine';
import { explain, lacksScaling } from './errors';
import { recognise } from './given';
import { Library } from './models/library';
import type { Model } from './models/model';
import { workOffline } from './offline';
import { byPath, type Given, takeFiles } from './parts/drop';
import { Lane } from './parts/job';
import { type PictureFile, readPicture } from './picture';
import { SAMPLE } from './sample';
import { settings } from './settings';
import { Signal } from './signal';
import { Compare } from './views/compare';
import { showEngine } from './views/engine-line';
import { bindHelp } from './views/help';
import { Hub } from './views/hub';
import { Models } from './views/models';
import { Playground } from './views/playground';
import { RoundTrip } from './views/round-trip';
import { Router } from './views/router';
import { bindSettings } from './views/settings';

const app: App = {
  library: new Library(),
  engine: new Engine(),
  picture: new Signal<PictureFile>(SAMPLE),
  engineLane: new Lane(),
};

bindSettings();
bindHelp();
showEngine(app);

const roundTrip = new RoundTrip(app);
const compare = new Compare(app);
const hub = new Hub(app);
const models = new Models(app);
const views: Record<string, View> = {
  roundtrip: roundTrip,
  playground: new Playground(app),
  compare,
  models: Object.assign(models, { enter: () => void hub.enter() }),
};
const router = new Router(views);

async function take(files: Given | Promise<Given>): Promise<void> {
  try {
    const given = await files;
    if (given.size === 0) return;
    const found = await recognise(given);
    if (found.kind === 'latents') {
      router.go('roundtrip');
      roundTrip.open(found.file);
      return;
    }
    if (found.kind === 'picture' || found.kind === 'pictures') {
      const [first, ...others] = found.kind === 'picture' ? [found.file] : found.files;
      // What is no picture must not take the place of one.
      await readPicture(first!, settings.value.longestSide);
      if (others.length > 0) router.go('compare');
      else if (router.current === models) router.go('roundtrip');
      app.picture.value = first!;
      compare.add(others);
    } else {
      const model = app.library.distinct(found.model);
      if (!(await opens(model))) return;
      app.library.add(model);
    }
    router.current.given?.();
  } catch (error) {
    router.current.job.fail(explain(error));
  }
}

/** Loads a model before it joins the others; one that only lacks its scaling joins, to be told it there. */
async function opens(model: Model): Promise<boolean> {
  const { job } = router.current;
  const opened = await job.run(async (work) => {
    try {
      await app.engine.vae(model, work);
    } catch (error) {
      if (lacksScaling(error)) app.library.add(model);
      throw error;
    }
    return true;
  });
  return opened ?? false;
}

takeFiles(byId('drop', HTMLElement), (files) => void take(files));
for (const [button, input] of [
  ['open', 'pick'],
  ['open-folder', 'pick-folder'],
] as const) {
  const picker = byId(input, HTMLInputElement);
  byId(button, HTMLButtonElement).addEventListener('click', () => picker.click());
  picker.addEventListener('change', () => {
    const given = byPath(picker.files ?? []);
    picker.value = '';
    void take(given);
  });
}

const choice = byId('vae', HTMLSelectElement);
choice.addEventListener('change', () => app.library.choose(choice.value));
app.library.models.watch((all) => choice.replaceChildren(...all.map(({ id, name }) => el('option', { value: id }, name))));
app.library.chosen.watch(({ id }) => (choice.value = id));

await app.library.load();
void workOffline(async () => {
  await devices();
  const { signal } = new AbortController();
  await app.engineLane.run(async () => {
    if (app.engine.info.value) return;
    // A VAE that does not open brings its engine all the same.
    await app.engine.vae(app.library.chosen.value, { signal, onProgress: () => {} }).catch(() => undefined);
  }, signal);
});
