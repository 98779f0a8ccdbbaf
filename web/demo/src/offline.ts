import { byId } from './dom';

/** Makes the page work offline, and, where the host cannot send the headers for threads, lets the worker send them. */
export async function workOffline(): Promise<void> {
  const status = byId('offline', HTMLElement);
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return;
  try {
    await navigator.serviceWorker.register('./sw.js');
    await navigator.serviceWorker.ready;
    status.textContent = 'Ready to work offline.';
  } catch {
    status.textContent = 'This visit cannot be kept for offline use.';
  }
}
