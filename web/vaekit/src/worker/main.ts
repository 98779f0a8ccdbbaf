/** The worker: takes calls, runs them one after another, and answers. */
import { VaekitError } from '../errors.js';
import type { Call, FromThread, Reply, Request, ToWorker } from '../messages.js';
import { failure } from './failure.js';
import { handlers } from './handlers.js';
import { Job, post } from './job.js';
import { runThread, threadsRun } from './threads.js';

const jobs = new Map<number, Job>();
let current: Job | undefined;
let last: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if ('thread' in data) {
    runThread(data.thread).catch((error: unknown) => self.postMessage(failure(error) satisfies FromThread));
  } else if ('threads' in data) {
    threadsRun();
  } else if ('abort' in data) {
    const job = jobs.get(data.abort);
    if (job) job.aborted = true;
  } else {
    const job = new Job(data.id);
    jobs.set(data.id, job);
    last = last.then(() => run(job, data.call, data.request));
  }
};

// What nobody catches is the running job's; without one the page hears of it, which ends this worker.
self.addEventListener('error', (event) => {
  if (!current) return;
  event.preventDefault();
  current.fail(event.error);
});
self.addEventListener('unhandledrejection', (event) => {
  // Promises of the browser's own, such as a lost GPU's, that nobody waits for any more.
  if (event.reason instanceof DOMException) return;
  event.preventDefault();
  if (current) current.fail(event.reason);
  else reportError(event.reason);
});

async function run<C extends Call>(job: Job, call: C, request: unknown): Promise<void> {
  current = job;
  try {
    if (job.aborted) throw new VaekitError('cancelled', 'cancelled');
    const handler = handlers[call] as (request: Request<C>, job: Job) => Promise<Reply<C>>;
    const reply = await job.guard(() => handler(request as Request<C>, job));
    post({ id: job.id, reply }, transferables(reply));
  } catch (error) {
    post({ id: job.id, ...failure(error, call) });
  } finally {
    jobs.delete(job.id);
    current = undefined;
  }
}

/** The buffers and bitmaps of a reply, to be handed over rather than copied. */
function transferables(value: unknown, found: Set<Transferable> = new Set()): Transferable[] {
  if (ArrayBuffer.isView(value)) found.add(value.buffer as ArrayBuffer);
  else if (value instanceof ImageBitmap) found.add(value);
  else if (value instanceof ImageData) found.add(value.data.buffer as ArrayBuffer);
  else if (value && typeof value === 'object' && !(value instanceof Blob)) {
    for (const inner of Object.values(value)) transferables(inner, found);
  }
  return [...found];
}
