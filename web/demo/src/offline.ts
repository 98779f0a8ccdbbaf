import { byId } from './dom';

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
  try {
    const registration = await navigator.serviceWorker.register('./sw.js');
    await navigator.serviceWorker.ready;
    await controlled();
    if (!crossOriginIsolated && !touched && !sessionStorage.getItem(RELOADED)) {
      sessionStorage.setItem(RELOADED, 'yes');
      location.reload();
      return;
    }
    await warmUp();
    status.textContent = registration.waiting ? 'A new version comes with the next visit.' : 'Ready to work offline.';
    if (!crossOriginIsolated) status.textContent += ' Reload the page to compute with all threads.';
  } catch {
    status.textContent = 'This visit cannot be kept for offline use.';
  }
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
