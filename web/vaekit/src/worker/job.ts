import type { FromWorker } from '../messages.js';
import type { Progress } from '../types.js';

/** Says something to the page. */
export function post(message: FromWorker, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}

/** One call on its way. */
export class Job {
  aborted = false;
  /** Makes what is being guarded fail. */
  fail: (reason: unknown) => void = () => {};
  #stage = '';
  #since = 0;

  constructor(readonly id: number) {}

  /** Tells the page how far a stage is, and estimates what is left of it. */
  report = (stage: string, done: number, total: number): void => {
    if (stage !== this.#stage) {
      this.#stage = stage;
      this.#since = performance.now();
    }
    const seconds = (performance.now() - this.#since) / 1000;
    const progress: Progress = { stage, done, total };
    // The first moments of a stage say little about the rest.
    if (total > 0 && done >= total / 20) progress.left = (seconds * (total - done)) / done;
    post({ id: this.id, progress });
  };

  /** As {@link report}, and answers after the worker's messages were looked at whether to go on. */
  observe(stage: string): (done: number, total: number) => Promise<boolean> {
    return async (done, total) => {
      this.report(stage, done, total);
      await turn();
      return !this.aborted;
    };
  }

  /**
   * Does work that may also end by `fail`: after a panic or a trap in one of its callbacks, a module's promise never settles,
   * and the exception goes to the worker's global scope.
   */
  async guard<T>(work: () => Promise<T>): Promise<T> {
    const outer = this.fail;
    try {
      return await new Promise<T>((resolve, reject) => {
        this.fail = reject;
        work().then(resolve, reject);
      });
    } finally {
      this.fail = outer;
    }
  }
}

/** Ends after the messages that have arrived by now: a timer would wait for longer. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
