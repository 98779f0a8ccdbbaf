import { el, icon } from '../dom';
import { difference, draw } from '../picture';
import { around, fit, type Size, type Viewport, within, zoomAt } from '../viewport';
import { followPointers } from './pointers';

/** A picture and what it is called. */
export interface Shown {
  label: string;
  image: ImageData;
}

const MODES = { slider: 'Slider', side: 'Side by side', difference: 'Difference' } as const;
type Mode = keyof typeof MODES;

let instances = 0;

/** Two pictures of the same size, compared by a divider, side by side or by their difference, all in one zoom. */
export class PictureCompare extends HTMLElement {
  #left: Shown | undefined;
  #right: Shown | undefined;
  #mode: Mode = 'slider';
  #view: Viewport = { scale: 1, x: 0, y: 0 };
  #fitted = true;

  readonly #panes = { left: pane('left'), right: pane('right'), difference: pane('difference') };
  readonly #divider = el(
    'div',
    {
      class: 'divider',
      role: 'slider',
      tabindex: 0,
      'aria-label': 'Divider between the two pictures',
      'aria-valuemin': 0,
      'aria-valuemax': 100,
    },
    el('span', {}, icon('divider')),
  );
  readonly #stage = el(
    'div',
    { class: 'stage', tabindex: 0, role: 'group' },
    ...Object.values(this.#panes).map((pane) => pane.root),
    this.#divider,
  );
  readonly #modes = el('fieldset', { class: 'segments' }, el('legend', { class: 'visually-hidden' }, 'View'));
  readonly #zoom = el('output', { class: 'zoom' });
  readonly #gain = el('input', { type: 'range', min: 1, max: 20, step: 1, value: 5 });
  readonly #gainOut = el('output', {}, '×5');
  readonly #gainRow = el('label', { class: 'gain', hidden: true }, 'Amplified ', this.#gain, this.#gainOut);

  connectedCallback(): void {
    if (this.childElementCount > 0) return;
    const name = `view-${instances++}`;
    for (const [mode, label] of Object.entries(MODES)) {
      const radio = el('input', { type: 'radio', name, value: mode, checked: mode === this.#mode });
      radio.addEventListener('change', () => this.#setMode(mode as Mode));
      this.#modes.append(el('label', {}, radio, el('span', {}, label)));
    }
    const button = (name: string, label: string, action: () => void): HTMLElement =>
      el('button', { type: 'button', class: 'quiet', 'aria-label': label, title: label, onclick: action }, icon(name));
    this.append(
      this.#stage,
      el(
        'div',
        { class: 'toolbar' },
        this.#modes,
        this.#gainRow,
        el(
          'div',
          { class: 'zooms', role: 'group', 'aria-label': 'Zoom' },
          button('minus', 'Zoom out', () => this.#zoomBy(1 / 1.5)),
          this.#zoom,
          button('plus', 'Zoom in', () => this.#zoomBy(1.5)),
          button('fit', 'Show the whole picture', () => this.#fit()),
        ),
      ),
    );
    this.#gain.addEventListener('input', () => {
      this.#gainOut.textContent = `×${this.#gain.value}`;
      this.#drawDifference();
    });
    this.#split = 50;
    this.#stage.addEventListener('keydown', (event) => this.#onKey(event));
    this.#stage.addEventListener('wheel', (event) => this.#onWheel(event), { passive: false });
    this.#stage.addEventListener('dblclick', (event) => this.#onDoubleClick(event));
    followPointers(this.#stage, {
      drag: (event, dx, dy, start) => {
        const onDivider = start instanceof Element && this.#divider.contains(start);
        if (onDivider || (this.#fitted && this.#mode === 'slider')) {
          const box = this.#stage.getBoundingClientRect();
          this.#split = ((event.clientX - box.left) / box.width) * 100;
        } else {
          this.#move({ ...this.#view, x: this.#view.x + dx, y: this.#view.y + dy });
        }
      },
      pinch: (factor, x, y) => this.#zoomBy(factor, ...this.#inPane(x, y)),
    });
    new ResizeObserver(() => this.#layout()).observe(this.#stage);
    this.#refresh();
  }

  /** Shows one picture, or two of the same size. */
  show(left: Shown | undefined, right?: Shown): void {
    const before = this.#left ?? this.#right;
    [this.#left, this.#right] = [left, right];
    const image = (left ?? right)?.image;
    if (image?.width !== before?.image.width || image?.height !== before?.image.height) this.#fitted = true;
    for (const [pane, shown] of [
      [this.#panes.left, left],
      [this.#panes.right, right],
    ] as const) {
      if (shown) draw(pane.canvas, shown.image);
      pane.canvas.hidden = !shown;
      pane.tag.textContent = shown?.label ?? '';
    }
    this.#refresh();
  }

  /** Brings a part of the picture close. */
  zoomTo(part: Size & { x: number; y: number }): void {
    const image = (this.#left ?? this.#right)?.image;
    if (image) this.#move(around(part, image, this.#pane));
  }

  set #split(percent: number) {
    const split = Math.min(100, Math.max(0, percent));
    this.#stage.style.setProperty('--split', `${split}%`);
    this.#divider.setAttribute('aria-valuenow', String(Math.round(split)));
  }

  get #split(): number {
    return Number(this.#divider.getAttribute('aria-valuenow'));
  }

  /** What is drawn: one picture has no other views. */
  get #shownMode(): Mode | 'single' {
    return this.#left && this.#right ? this.#mode : 'single';
  }

  #setMode(mode: Mode): void {
    this.#mode = mode;
    this.#refresh();
  }

  #refresh(): void {
    const [mode, image] = [this.#shownMode, (this.#left ?? this.#right)?.image];
    this.#stage.dataset.mode = mode;
    this.#modes.disabled = mode === 'single';
    this.#gainRow.hidden = mode !== 'difference';
    if (image) {
      const columns = mode === 'side' ? 2 : 1;
      this.#stage.style.setProperty('--ratio', String((image.width * columns) / image.height));
    }
    const labels = [this.#left?.label, this.#right?.label].filter(Boolean).join(' and ');
    this.#stage.setAttribute('aria-label', `${labels || 'no picture yet'}; plus and minus zoom, arrows move`);
    this.#drawDifference();
    this.#layout();
  }

  #drawDifference(): void {
    if (this.#shownMode !== 'difference' || !this.#left || !this.#right) return;
    const amplify = this.#gain.valueAsNumber;
    draw(this.#panes.difference.canvas, difference(this.#left.image, this.#right.image, amplify));
    this.#panes.difference.tag.textContent = `|${this.#left.label} − ${this.#right.label}| × ${amplify}`;
  }

  get #pane(): { width: number; height: number } {
    const { clientWidth: width, clientHeight: height } = this.#stage;
    return { width: this.#shownMode === 'side' ? width / 2 : width, height };
  }

  #layout(): void {
    const image = (this.#left ?? this.#right)?.image;
    const pane = this.#pane;
    if (!image || pane.width === 0) return;
    this.#move(this.#fitted ? fit(image, pane) : this.#view);
  }

  #move(view: Viewport): void {
    const image = (this.#left ?? this.#right)?.image;
    if (!image) return;
    this.#view = within(view, image, this.#pane);
    this.#fitted = this.#view.scale <= fit(image, this.#pane).scale * 1.001;
    const pixelated = this.#view.scale * devicePixelRatio >= 2;
    for (const { canvas } of Object.values(this.#panes)) {
      canvas.style.transform = `translate(${this.#view.x}px, ${this.#view.y}px) scale(${this.#view.scale})`;
      canvas.style.imageRendering = pixelated ? 'pixelated' : 'auto';
    }
    this.#stage.classList.toggle('zoomed', !this.#fitted);
    this.#zoom.textContent = `${Math.round(this.#view.scale * 100)} %`;
  }

  #fit(): void {
    this.#fitted = true;
    this.#layout();
  }

  #zoomBy(factor: number, x = this.#pane.width / 2, y = this.#pane.height / 2): void {
    const image = (this.#left ?? this.#right)?.image;
    if (image) this.#move(zoomAt(this.#view, factor, x, y, image, this.#pane));
  }

  /** A point of the window, in the pane under it. */
  #inPane(clientX: number, clientY: number): [number, number] {
    const box = this.#stage.getBoundingClientRect();
    return [(clientX - box.left) % this.#pane.width, clientY - box.top];
  }

  #onWheel(event: WheelEvent): void {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.#zoomBy(Math.exp(-event.deltaY / 200), ...this.#inPane(event.clientX, event.clientY));
  }

  #onDoubleClick(event: MouseEvent): void {
    if (this.#fitted) this.#zoomBy(4, ...this.#inPane(event.clientX, event.clientY));
    else this.#fit();
  }

  #onKey(event: KeyboardEvent): void {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const far = event.shiftKey ? 10 : 2;
    if (event.target === this.#divider && arrow) this.#split += arrow[0]! * far - arrow[1]! * far;
    else if (event.target === this.#divider && event.key === 'Home') this.#split = 0;
    else if (event.target === this.#divider && event.key === 'End') this.#split = 100;
    else if (arrow && !this.#fitted) {
      this.#move({ ...this.#view, x: this.#view.x - arrow[0]! * 40, y: this.#view.y - arrow[1]! * 40 });
    } else if (event.key === '+' || event.key === '=') this.#zoomBy(1.5);
    else if (event.key === '-') this.#zoomBy(1 / 1.5);
    else if (event.key === '0') this.#fit();
    else return;
    event.preventDefault();
  }
}

interface Pane {
  root: HTMLElement;
  canvas: HTMLCanvasElement;
  tag: HTMLElement;
}

function pane(kind: string): Pane {
  const canvas = el('canvas');
  const tag = el('span', { class: 'tag' });
  return { root: el('div', { class: `pane ${kind}` }, canvas, tag), canvas, tag };
}

customElements.define('picture-compare', PictureCompare);
