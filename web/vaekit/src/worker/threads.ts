import type { FromThread, ThreadStart } from '../messages.js';
import { post } from './job.js';
import { type Glue, variant } from './variants.js';

let answer: (() => void) | undefined;

/** Makes this worker and new ones, which the page starts, the threads of one module. */
export async function startThreads(glue: Glue, thread: ThreadStart, threads: number): Promise<void> {
  await new Promise<void>((resolve) => {
    answer = resolve;
    post({ wanted: threads - 1, thread });
  });
  glue.startThreads?.(threads);
}

/** The page says that the threads run; if one cannot, it ends this worker. */
export const threadsRun = (): void => answer?.();

/** Makes this worker a thread, for as long as it lives. */
export async function runThread({ module, memory, variant: name }: ThreadStart): Promise<void> {
  const { glue } = variant(name);
  await glue.default({ module_or_path: module, memory });
  self.postMessage('runs' satisfies FromThread);
  glue.runThread?.();
}
