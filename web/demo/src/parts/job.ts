import type { Progress } from 'vaekit';

import { announce, byId, el, icon } from '../dom';
import { explain, isCancelled, type Problem } from '../errors';
import { refocus } from '../focus';
import { timeLeft } from '../format';

export interface Work {
  signal: AbortSignal;
  onProgress: (progress: Progress) => void;
}

/** What takes turns, such as the engine: each piece of work waits for the one before. */
export class Lane {
  #last: Promise<unknown> = Promise.resolve();

  /** Does `work` when it is its turn, or not at all if `signal` comes before. */
  run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const before = this.#last;
    const done = Promise.race([before, aborted(signal)]).then(() => {
      signal.throwIfAborted();
      return work();
    });
    // Without the results, which would be held for as long as the page lives.
    this.#last = Promise.allSettled([before, done]).then(() => undefined);
    return done;
  }
}

/** Shows work in `root`: its stage and time left, a cancel button, and what went wrong. */
export class Job {
  #current: AbortController | undefined;
  /** What had the focus when the work began. */
  #opener: Element | undefined;
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
    this.#current?.abort();
  }

  /**
   * Does `work` when it is its turn, after cancelling what this job did before; `undefined` where it was cancelled or
   * failed, which is shown.
   */
  async run<T>(work: (work: Work) => Promise<T>): Promise<T | undefined> {
    this.cancel();
    const mine = new AbortController();
    const { signal } = mine;
    this.#current = mine;
    const { activeElement, body } = document;
    if (!this.#running.contains(activeElement)) this.#opener = activeElement === body ? undefined : (activeElement ?? undefined);
    this.#report({ stage: 'Waiting for its turn', done: 0, total: 0 });
    const done = this.lane.run(() => {
      this.#problem.hidden = true;
      return work({ signal, onProgress: (progress) => !signal.aborted && this.#report(progress) });
    }, signal);
    const show = setTimeout(() => (this.#running.hidden = this.#current !== mine), this.quick ? 300 : 0);
    try {
      return await done;
    } catch (error) {
      if (!isCancelled(error) && !signal.aborted) this.fail(explain(error));
      else if (this.#current === mine) announce('Cancelled');
      return undefined;
    } finally {
      clearTimeout(show);
      if (this.#current === mine) {
        this.#current = undefined;
        this.#hide();
      }
    }
  }

  /** The focus that was on Cancel goes back to where the work was begun. */
  #hide(): void {
    const hadFocus = this.#running.contains(document.activeElement);
    this.#running.hidden = true;
    if (hadFocus) refocus(this.#opener, byId('main', HTMLElement));
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

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
