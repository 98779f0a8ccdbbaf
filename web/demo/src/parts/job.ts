import type { Progress } from 'vaekit';

import { announce, el, icon } from '../dom';
import { explain, isCancelled, type Problem } from '../errors';
import { timeLeft } from '../format';

export interface Work {
  signal: AbortSignal;
  onProgress: (progress: Progress) => void;
}

/** What takes turns: starting one piece of work cancels the one before and waits until it has stopped. */
export class Lane {
  current: { controller: AbortController; done: Promise<unknown> } | undefined;
}

/** Shows work in `root`: its stage and time left, a cancel button, and what went wrong. */
export class Job {
  readonly #stage = el('p', { class: 'job-stage' });
  readonly #left = el('p', { class: 'job-left' });
  readonly #bar = el('progress', { max: 1, 'aria-label': 'Progress' });
  readonly #running = el(
    'div',
    { class: 'job', hidden: true },
    this.#stage,
    this.#left,
    this.#bar,
    el('button', { type: 'button', class: 'cancel', onclick: () => this.cancel() }, 'Cancel'),
  );
  readonly #problem = el('div', { class: 'problem', role: 'alert', hidden: true });

  /** `quick` work shows its bar only when it takes longer than a blink. */
  constructor(
    root: HTMLElement,
    readonly lane: Lane,
    readonly quick = false,
  ) {
    root.append(this.#running, this.#problem);
  }

  cancel(): void {
    this.lane.current?.controller.abort();
  }

  /** Does `work` after cancelling what ran before; `undefined` where it was cancelled or failed, which is shown. */
  async run<T>(work: (work: Work) => Promise<T>): Promise<T | undefined> {
    const before = this.lane.current;
    before?.controller.abort();
    const controller = new AbortController();
    const { signal } = controller;
    const done = (async () => {
      await before?.done.catch(() => undefined);
      signal.throwIfAborted();
      this.#problem.hidden = true;
      return work({ signal, onProgress: (progress) => !signal.aborted && this.#report(progress) });
    })();
    const mine = { controller, done };
    this.lane.current = mine;
    const show = setTimeout(() => (this.#running.hidden = this.lane.current !== mine), this.quick ? 300 : 0);
    try {
      return await done;
    } catch (error) {
      if (!isCancelled(error) && !signal.aborted) this.fail(explain(error));
      else if (this.lane.current === mine) announce('Cancelled');
      return undefined;
    } finally {
      clearTimeout(show);
      if (this.lane.current === mine) {
        this.lane.current = undefined;
        this.#running.hidden = true;
        this.#stage.textContent = '';
      }
    }
  }

  fail({ title, detail, advice }: Problem): void {
    this.#problem.replaceChildren(icon('problem'), el('div', {}, el('h3', {}, title), el('p', {}, detail), el('p', {}, advice)));
    this.#problem.hidden = false;
    this.#problem.scrollIntoView({ block: 'nearest' });
  }

  #report({ stage, done, total, left }: Progress): void {
    if (this.#stage.textContent !== stage) {
      this.#stage.textContent = stage;
      if (!this.#running.hidden) announce(stage);
    }
    if (total > 0) this.#bar.value = done / total;
    else this.#bar.removeAttribute('value');
    this.#left.textContent = left === undefined || done >= total ? '' : timeLeft(left);
  }
}
