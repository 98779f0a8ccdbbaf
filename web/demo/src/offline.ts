import { byId } from './dom';
import { isEngineModule } from './engine-modules';

const RELOADED = 'vaekit-reloaded';

let touched = false;
for (const event of ['pointerdown', 'keydown', 'drop']) addEventListener(event, () => (touched = true), { once: true });

/**
 * Makes the page work offline. Where the host does not send the headers that threads need, the service worker adds them from
 * the next load on: that load happens by itself, once, if nobody has touched the page yet. `warmUp` fetches what depends on
 * the browser, past the service worker, which keeps it.
 */
export async function workOffline(warmUp: () => Promise<void>): Promise<void> {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return;
  const status = byId('offline', HTMLElement);
  // A page that the worker answered for, and that is still not isolated, never will be.
  const isolatesNext = !crossOriginIsolated && !navigator.serviceWorker.controller;
  try {
    const registration = await navigator.serviceWorker.register('./sw.js');
    await navigator.serviceWorker.ready;
    await controlled();
    if (isolatesNext && !touched && !sessionStorage.getItem(RELOADED)) {
      sessionStorage.setItem(RELOADED, 'yes');
      location.reload();
      return;
    }
    await warmUp();
    await kept(registration.scope);
    if (isolatesNext) status.textContent = 'Reload once to compute with all threads and to work offline.';
    else if (registration.waiting) status.textContent = 'A new version comes with the next visit.';
    else status.textContent = 'Ready to work offline.';
  } catch {
    status.textContent = 'This visit cannot be kept for offline use.';
  }
}

/** Until an engine's module lies in the service worker's cache, where it comes a little after it was handed out. */
async function kept(scope: string): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    const ours = (await caches.keys()).filter((name) => name.startsWith(`vaekit ${scope} `));
    const requests = await Promise.all(ours.map(async (name) => (await caches.open(name)).keys()));
    if (requests.flat().some(({ url }) => isEngineModule(url))) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error('this browser has no room for the modules');
}

/** Until the service worker answers for this page. */
async function controlled(): Promise<void> {
  if (navigator.serviceWorker.controller) return;
  await new Promise((resolve) => {
    navigator.serviceWorker.addEventListener('controllerchange', resolve, { once: true });
    // A reload past the cache is never controlled.
    setTimeout(resolve, 5000);
  });
}
