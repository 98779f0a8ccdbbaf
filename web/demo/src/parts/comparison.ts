/** What a comparison found: the verdict, the table, where to look, and files of it. */
import type { Comparison, Region } from 'vaekit';

import { byId, download, el } from '../dom';

export function showComparison({ labels, verdict, summary, report }: Comparison): void {
  const rest = verdict.text.slice(verdict.headline.length);
  byId('compare-verdict', HTMLElement).replaceChildren(el('strong', {}, verdict.headline), rest);
  const warnings = verdict.warnings.map(({ text }) => el('p', { class: 'warning', role: 'note' }, text));
  byId('compare-warnings', HTMLElement).replaceChildren(...warnings);
  const heads = summary.columns.map(({ name, about }) => el('th', { scope: 'col', class: 'n', title: about }, name));
  byId('compare-head', HTMLElement).replaceChildren(el('tr', {}, el('th', { scope: 'col' }, 'VAE'), ...heads));
  const rows = summary.rows.map((cells, index) => {
    const numbers = cells.map(({ text, best }) => el('td', { class: best ? 'n best' : 'n' }, text));
    return el('tr', {}, el('th', { scope: 'row' }, labels[index]!), ...numbers);
  });
  byId('compare-rows', HTMLElement).replaceChildren(...rows);
  byId('compare-noise', HTMLElement).textContent = verdict.noise;
  for (const [format, blob] of Object.entries(report)) {
    byId(`compare-${format}`, HTMLButtonElement).onclick = () => download(blob, `comparison.${format}`);
  }
  byId('compare-results', HTMLElement).hidden = false;
}

/** Buttons that bring close what a picture is best looked at for. */
export function showRegions(found: Comparison['pictures'][number] | undefined, zoomTo: (region: Region) => void): void {
  const row = byId('compare-regions', HTMLElement);
  const title = byId('compare-regions-title', HTMLElement);
  const regions = found?.regions ?? [];
  title.textContent = found?.regionsFor === 'disagreement' ? 'Where they differ most:' : 'They are alike. Furthest from the original:';
  const button = (region: Region, index: number): HTMLElement =>
    el('button', { type: 'button', class: 'quiet', onclick: () => zoomTo(region) }, `place ${index + 1}`);
  row.replaceChildren(title, ...regions.map(button));
  row.hidden = regions.length === 0;
}
