import { devices } from 'vaekit';

import type { App } from '../app';
import { byId, el } from '../dom';
import { bytes } from '../format';
import { showFacts } from '../parts/facts';

/** One line that says what computes, and behind it why. */
export function showEngine({ engine }: App): void {
  const line = byId('engine-line', HTMLElement);
  engine.info.watch((info) => {
    if (!info) {
      line.textContent = 'Engine: not started';
      return;
    }
    const { name, threads, notices } = info.engine;
    line.textContent = `${name}, ${threads === 1 ? 'one thread' : `${threads} threads`}${notices.length > 0 ? ' (!)' : ''}`;
    showFacts(byId('engine-facts', HTMLElement), [
      ['Engine', info.engine.detail],
      ['VAE', info.name, `${info.family}, ${bytes(info.weightsBytes)} of weights`],
      ['Latents', `${info.latents.channels} channels`, `one for each ${info.latents.factor} by ${info.latents.factor} pixels`],
    ]);
    byId('engine-notices', HTMLElement).replaceChildren(...notices.map((notice) => el('li', {}, notice)));
  });
  void devices;
}
