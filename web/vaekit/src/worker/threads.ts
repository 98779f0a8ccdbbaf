import type { ThreadStart } from '../messages.js';
import { post } from './job.js';
import { type Glue, variant } from './variants.js';

let answer: ((outcome: 'run' | { failed: string }) => void) | undefined;

/** Makes this worker and new ones, which the page starts, the threads of one module. */
export async function startThreads(glue: Glue, thread: ThreadStart, threads: number): Promise<void> {
  const outcome = await new Promise<'run' | { failed: string }>((resolve) => {
    answer = resolve;
    post({ wanted: threads - 1, thread });
  });
  if (outcome !== 'run') throw new Error(outcome.failed);
  glue.startThreads?.(threads);
}

/** What the page says of the threads. */
export const threadsAnswered = (outcome: 'run' | { failed: string }): void => answer?.(outcome);

/** Makes this worker a thread, for as long as it lives. */
export async function runThread({ module, memory, variant: name }: ThreadStart): Promise<void> {
  const { glue } = variant(name);
  await glue.default({ module_or_path: module, memory });
  self.postMessage(null);
  glue.runThread?.();
}
