/** The worker: takes calls, runs them one after another, and answers. */
import { VaekitError } from '../errors.js';
import type { Call, Failure, Reply, Request, ToWorker } from '../messages.js';
import { handlers } from './handlers.js';
import { Job, post } from './job.js';
import { runThread, threadsAnswered } from './threads.js';

const jobs = new Map<number, Job>();
let last: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if ('thread' in data) {
    // Thrown out of a promise, so that whoever started this thread hears of it.
    runThread(data.thread).catch((error: unknown) => setTimeout(() => reportError(error)));
  } else if ('threads' in data) {
    threadsAnswered(data.threads);
  } else if ('abort' in data) {
    const job = jobs.get(data.abort);
    if (job) job.aborted = true;
  } else {
    const job = new Job(data.id);
    jobs.set(data.id, job);
    last = last.then(() => run(job, data.call, data.request));
  }
};

async function run<C extends Call>(job: Job, call: C, request: unknown): Promise<void> {
  try {
    if (job.aborted) throw new VaekitError('cancelled', 'cancelled');
    const handler = handlers[call] as (request: Request<C>, job: Job) => Promise<Reply<C>>;
    const reply = await handler(request as Request<C>, job);
    post({ id: job.id, reply }, transferables(reply));
  } catch (error) {
    post({ id: job.id, ...failure(error) });
  } finally {
    jobs.delete(job.id);
  }
}

/** An error of ours has a kind. Anything else is a panic or a trap, after which the module's memory means nothing. */
function failure(error: unknown): Failure {
  if (error instanceof VaekitError) return { error: { kind: error.kind, message: error.message }, fatal: false };
  const { kind, message } = error as { kind?: string; message?: string };
  if (kind === 'unsupported') return { error: { kind: 'engine', message: message ?? '' }, fatal: false };
  // What was loaded went with the GPU's device.
  if (kind === 'lost') return { error: { kind: 'engine', message: message ?? '' }, fatal: true };
  if (kind) return { error: { kind: kind as VaekitError['kind'], message: message ?? '' }, fatal: false };
  // A panic comes with its words; without any, the module has ended itself because it got no memory.
  if (error instanceof WebAssembly.RuntimeError && /unreachable/.test(error.message)) {
    const reason = 'there was not enough memory; use a smaller picture';
    return { error: { kind: 'out-of-memory', message: reason }, fatal: true };
  }
  const isMemory = error instanceof RangeError;
  return { error: { kind: isMemory ? 'out-of-memory' : 'other', message: message ?? String(error) }, fatal: true };
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
