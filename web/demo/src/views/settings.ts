import { byId, el } from '../dom';
import { change, settings, type Settings } from '../settings';

/** Binds the controls of the settings, and the longest side beside the VAE. */
export function bindSettings(): void {
  const engine = byId('engine-choice', HTMLSelectElement);
  const side = byId('longest-side', HTMLSelectElement);
  const hub = byId('hub-address', HTMLInputElement);
  const threads = byId('threads', HTMLSelectElement);
  const most = crossOriginIsolated ? navigator.hardwareConcurrency || 1 : 1;
  threads.append(
    el('option', { value: 0 }, `automatic (${most})`),
    ...Array.from({ length: most }, (_, i) => el('option', { value: i + 1 }, String(i + 1))),
  );
  settings.watch((now) => {
    engine.value = now.engine;
    side.value = String(now.longestSide);
    threads.value = String(Math.min(now.threads, most));
    hub.value = now.hub;
  });
  engine.addEventListener('change', () => change({ engine: engine.value as Settings['engine'] }));
  side.addEventListener('change', () => change({ longestSide: Number(side.value) }));
  threads.addEventListener('change', () => change({ threads: Number(threads.value) }));
  hub.addEventListener('change', () => {
    if (hub.checkValidity() && hub.value) change({ hub: hub.value.replace(/\/+$/, '') });
    else hub.reportValidity();
  });
}
