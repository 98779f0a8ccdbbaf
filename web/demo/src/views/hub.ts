import type { App } from '../app';
import { announce, byId, el } from '../dom';
import { rebuild } from '../focus';
import { bytes } from '../format';
import { downloadSize, type Entry, fetchEntry, matches, pageOf, registry } from '../models/hub';
import { Job, Lane } from '../parts/job';
import { settings } from '../settings';

/** The registry's VAEs, to be fetched. */
export class Hub {
  readonly #job = new Job(byId('hub-job', HTMLElement), new Lane());
  readonly #filter = byId('hub-filter', HTMLInputElement);
  #entries: Entry[] | undefined;
  /** One at a time: another would end a download that may have run for minutes. */
  #fetching: Entry | undefined;

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
    const items = shown.length > 0 ? shown.map((entry) => this.#item(entry)) : [el('li', {}, 'Nothing by that name.')];
    rebuild(byId('hub-list', HTMLElement), items, byId('hub-title', HTMLElement));
  }

  #item(entry: Entry): HTMLElement {
    const total = downloadSize(entry);
    const here = this.app.library.models.value.some(({ name, kept, hashes }) => kept && hashes && name === entry.name);
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
            : this.#fetchButton(entry),
      ),
    );
  }

  #fetchButton(entry: Entry): HTMLElement {
    const runs = this.#fetching === entry;
    const attributes = {
      type: 'button',
      'aria-label': `Fetch ${entry.name}`,
      onclick: () => void this.#fetch(entry),
      disabled: this.#fetching !== undefined && !runs,
      // The one that was pressed keeps the focus.
      ...(runs && { 'aria-disabled': 'true' }),
    };
    return el('button', attributes, runs ? 'Fetching' : 'Fetch');
  }

  async #fetch(entry: Entry): Promise<void> {
    if (this.#fetching) return;
    this.#fetching = entry;
    this.#show();
    const model = await this.#job.run((work) => fetchEntry(entry, work));
    this.#fetching = undefined;
    this.#show();
    if (!model) return;
    this.app.library.add(model);
    const isNew = Object.values(model.hashes ?? {}).some(({ known }) => !known);
    announce(`${model.name} was fetched${isNew ? '; its sha256 was not known before and is recorded' : ''}`);
  }
}

/** With a capital at the start, unless that is a name. */
const sentence = (text: string): string =>
  /^[a-z]+\b(?!-)/.test(text) ? `${text[0]!.toUpperCase()}${text.slice(1)}` : text;
