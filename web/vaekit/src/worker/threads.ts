import type { ThreadStart, ToWorker } from '../messages.js';
import { type Glue, variant } from './variants.js';

/** Makes this worker and new ones the threads of one module, which lies in `memory`. */
export async function startThreads(glue: Glue, start: ThreadStart, threads: number): Promise<void> {
  const others = Array.from({ length: threads - 1 }, () => spawn(start));
  await Promise.all(others);
  glue.startThreads?.(threads);
}

/** Starts this very script again, which every bundler has given a place. */
function spawn(start: ThreadStart): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(self.location.href, { type: 'module', name: 'vaekit thread' });
    worker.onmessage = () => resolve();
    worker.onerror = ({ message }) => reject(new Error(`a thread could not be started: ${message}`));
    worker.postMessage({ thread: start } satisfies ToWorker);
  });
}

/** Makes this worker a thread, for as long as it lives. */
export async function runThread({ module, memory, variant: name }: ThreadStart): Promise<void> {
  const { glue } = variant(name);
  await glue.default({ module_or_path: module, memory });
  self.postMessage(null);
  glue.runThread?.();
}
