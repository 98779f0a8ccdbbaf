import type { Latents } from 'vaekit';

import { gradient, paint } from '../colormap';
import { el } from '../dom';
import { number } from '../format';
import { context2d } from '../picture';

/** The channels of latents as small pictures in one diverging colour scale, each with the range of its values. */
export class LatentsView {
  readonly #grid = el('div', { class: 'channels' });
  readonly #low = el('span');
  readonly #high = el('span');
  readonly #map = el('i', { 'aria-hidden': 'true' });
  readonly #legend = el(
    'div',
    { class: 'legend', hidden: true },
    this.#low,
    this.#map,
    this.#high,
  );

  constructor(root: HTMLElement) {
    this.#map.style.background = gradient;
    root.append(this.#grid, this.#legend);
  }

  show(latents: Latents): void {
    const [, channels, height, width] = latents.shape;
    const plane = height * width;
    const limit = 3 * rms(latents.data) || 1;
    while (this.#grid.childElementCount > channels) this.#grid.lastElementChild?.remove();
    while (this.#grid.childElementCount < channels) this.#grid.append(channelFigure(this.#grid.childElementCount));
    [...this.#grid.children].forEach((figure, channel) => {
      const values = latents.data.subarray(channel * plane, (channel + 1) * plane);
      const [canvas, range] = [figure.querySelector('canvas')!, figure.querySelector('small')!];
      const image = new ImageData(width, height);
      paint(values, limit, image.data);
      canvas.width = width;
      canvas.height = height;
      context2d(canvas).putImageData(image, 0, 0);
      const [low, high] = extent(values);
      range.textContent = `${number(low)} to ${number(high)}`;
      canvas.setAttribute('aria-label', `channel ${channel}, values from ${number(low)} to ${number(high)}`);
    });
    this.#low.textContent = `${number(-limit)} and less`;
    this.#high.textContent = `${number(limit)} and more`;
    this.#legend.hidden = false;
  }
}

const channelFigure = (channel: number): HTMLElement =>
  el(
    'figure',
    {},
    el('canvas', { role: 'img' }),
    el('figcaption', {}, el('b', {}, String(channel)), ' ', el('small')),
  );

function rms(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
}

function extent(values: Float32Array): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return [low, high];
}
