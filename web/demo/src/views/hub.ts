import type { App } from '../app';
import { byId, el } from '../dom';
import { bytes } from '../format';
import { downloadSize, type Entry, fetchEntry, matches, pageOf, registry } from '../models/hub';
import { Job, Lane } from '../parts/job';
import { settings } from '../settings';

/** The registry's VAEs, to be fetched. */
export class Hub {
  readonly #job = new Job(byId('hub-job', HTMLElement), new Lane());
  readonly #filter = byId('hub-filter', HTMLInputElement);
  #entries: Entry[] | undefined;

  constructor(readonly app: App) {
    this.#filter.addEventListener('input', () => this.#show());
    app.library.models.watch(() => this.#show());
    settings.watch(({ hub }) => {
      byId('hub-host', HTMLElement).textContent = hub.replace(/^https?:\/\//, '');
      this.#show();
    });
  }

  async enter(): Promise<void> {
    this.#entries ??= await registry();
    byId('hub-card', HTMLElement).hidden = this.#entries.length === 0;
    this.#show();
  }

  #show(): void {
    const shown = (this.#entries ?? []).filter((entry) => matches(entry, this.#filter.value));
    byId('hub-list', HTMLElement).replaceChildren(
      ...(shown.length > 0 ? shown.map((entry) => this.#item(entry)) : [el('li', {}, 'Nothing by that name.')]),
    );
  }

  #item(entry: Entry): HTMLElement {
    const total = downloadSize(entry);
    const here = this.app.library.models.value.some(({ name, kept }) => kept && name === entry.name);
    const facts = [entry.for.join(', '), total === undefined ? 'size not known' : bytes(total), `licence ${entry.licence}`];
    return el(
      'li',
      {},
      el(
        'div',
        { class: 'about' },
        el('h3', {}, entry.name),
        el('p', {}, `${sentence(entry.summary)}.`),
        el('p', { class: 'muted' }, facts.join(' · ')),
      ),
      el(
        'div',
        { class: 'row' },
        entry.gated
          ? el('a', { href: pageOf(entry), target: '_blank', rel: 'noopener' }, 'Needs a login: open its page')
          : here
            ? el('span', { class: 'badge' }, 'at hand')
            : el('button', { type: 'button', 'aria-label': `Fetch ${entry.name}`, onclick: () => void this.#fetch(entry) }, 'Fetch'),
      ),
    );
  }

  async #fetch(entry: Entry): Promise<void> {
    const model = await this.#job.run((work) => fetchEntry(entry, work));
    if (model) this.app.library.add(model);
  }
}

/** With a capital at the start, unless that is a name. */
const sentence = (text: string): string =>
  /^[a-z]+\b(?!-)/.test(text) ? `${text[0]!.toUpperCase()}${text.slice(1)}` : text;
