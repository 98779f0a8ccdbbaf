import { cancelled, VaekitError } from './errors.js';
import type { Call, Failure, FromThread, FromWorker, Reply, Request, ThreadStart, ToWorker } from './messages.js';
import type { Options, Progress } from './types.js';

interface Pending {
  resolve(value: unknown): void;
  reject(error: VaekitError): void;
  onProgress: ((progress: Progress) => void) | undefined;
}

/** How a wish to cancel ends the work: the worker sees it between two layers, or is ended. */
export type Interrupt = 'ask' | 'end';

/** A worker with its threads, and the calls it has not answered. */
export class Connection {
  readonly #worker = newWorker();
  #threads: Worker[] = [];
  readonly #pending = new Map<number, Pending>();
  #next = 0;
  #ended: VaekitError | undefined;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.end(new VaekitError('other', `the worker failed: ${event.message || 'its script could not be loaded'}`));
    };
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  call<C extends Call>(
    call: C,
    request: Request<C>,
    { signal, onProgress }: Options = {},
    interrupt: Interrupt = 'end',
    transfer: Transferable[] = [],
  ): Promise<Reply<C>> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      if (signal?.aborted) return reject(cancelled());
      const id = this.#next++;
      const abort = (): void => (interrupt === 'ask' ? this.#post({ abort: id }) : this.end(cancelled()));
      signal?.addEventListener('abort', abort);
      const settled =
        <T>(then: (value: T) => void) =>
        (value: T): void => {
          signal?.removeEventListener('abort', abort);
          then(value);
        };
      this.#pending.set(id, {
        // The worker may have been done before it saw the wish.
        resolve: settled((value) => (signal?.aborted ? reject(cancelled()) : resolve(value as Reply<C>))),
        reject: settled(reject),
        onProgress,
      });
      this.#post({ id, call, request }, transfer);
    });
  }

  /** Ends the worker; calls without an answer are rejected. */
  end(reason: VaekitError): void {
    this.#ended ??= reason;
    for (const worker of [this.#worker, ...this.#threads]) worker.terminate();
    for (const { reject } of this.#pending.values()) reject(reason);
    this.#pending.clear();
  }

  #post(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  /**
   * Makes new workers the threads of this one's module. They are started here rather than there because Firefox may never
   * come back from a worker's `new Worker`. One that fails, then or later, ends all: the others would wait for it forever.
   */
  async #startThreads(wanted: number, thread: ThreadStart): Promise<void> {
    if (this.#ended) return;
    const started = Array.from({ length: wanted }, () => {
      const worker = newWorker();
      this.#threads.push(worker);
      return new Promise<void>((resolve) => {
        worker.onmessage = ({ data }: MessageEvent<FromThread>) => (data === 'runs' ? resolve() : this.end(errorOf(data)));
        worker.onerror = (event) => {
          event.preventDefault();
          this.end(new VaekitError('other', `a thread failed: ${event.message || 'its script could not be loaded'}`));
        };
        worker.postMessage({ thread } satisfies ToWorker);
      });
    });
    await Promise.all(started);
    this.#post({ threads: 'run' });
  }

  #receive(message: FromWorker): void {
    if ('wanted' in message) return void this.#startThreads(message.wanted, message.thread);
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    if ('progress' in message) return pending.onProgress?.(message.progress);
    this.#pending.delete(message.id);
    if ('reply' in message) return pending.resolve(message.reply);
    const error = errorOf(message);
    pending.reject(error);
    if (message.fatal) this.end(error);
  }
}

const errorOf = ({ error: { kind, message, code } }: Failure): VaekitError => new VaekitError(kind, message, code);

// Bundlers want it in just these words.
const newWorker = (): Worker => new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'vaekit' });

let shared: Connection | undefined;

/** The worker of the functions that need no VAE and keep nothing. */
export function helper(): Connection {
  if (!shared?.isOpen) shared = new Connection();
  return shared;
}
