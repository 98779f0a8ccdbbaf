import { devices, type Devices, type GpuAdapterInfo, type VaeInfo } from 'vaekit';

import type { App } from '../app';
import { byId, el } from '../dom';
import { bytes } from '../format';
import { type Fact, showFacts } from '../parts/facts';

const ENGINES: Record<string, string> = { cpu: 'CPU engine', tract: 'tract', webgpu: 'WebGPU' };

/** One line that says what computes, and behind it why. */
export function showEngine({ engine }: App): void {
  let machine: Fact[] = [];
  const show = (info: VaeInfo | undefined): void => {
    byId('engine-line', HTMLElement).textContent = info ? summary(info) : 'Engine: not started';
    showFacts(byId('engine-facts', HTMLElement), [...(info ? loaded(info) : []), ...machine]);
    const notices = info?.engine.notices ?? [];
    byId('engine-notices', HTMLElement).replaceChildren(...notices.map((notice) => el('li', {}, notice)));
  };
  engine.info.watch(show);
  const details = byId('engine', HTMLDetailsElement);
  addEventListener('pointerdown', ({ target }) => target instanceof Node && !details.contains(target) && (details.open = false));
  addEventListener('keydown', ({ key }) => key === 'Escape' && (details.open = false));
  // Asked when somebody looks: to find a GPU's adapter wakes its driver.
  details.addEventListener(
    'toggle',
    () => {
      void devices().then((found) => {
        machine = describe(found);
        show(engine.info.value);
      });
    },
    { once: true },
  );
}

function summary({ engine: { name, threads, notices } }: VaeInfo): string {
  const line = `${ENGINES[name] ?? name}, ${threads === 1 ? 'one thread' : `${threads} threads`}`;
  return notices.length > 0 ? `${line} (see why)` : line;
}

function loaded({ name, family, engine, latents, weightsBytes }: VaeInfo): Fact[] {
  return [
    ['Engine', engine.detail],
    ['VAE', name, `${family}, ${bytes(weightsBytes)} of weights`],
    ['Latents', `${latents.channels} channels`, `one number each for ${latents.factor} by ${latents.factor} pixels`],
  ];
}

function describe({ wasm, gpu }: Devices): Fact[] {
  const isolation = wasm.crossOriginIsolated ? 'the page is isolated, so all may be used' : 'the page is not isolated, so one is used';
  return [
    ['Processor threads', String(wasm.hardwareThreads), isolation],
    ['Memory of a page', `${bytes(wasm.maxMemoryBytes)} at most`],
    [
      'Graphics adapter',
      gpu.adapter ? adapterName(gpu.adapter) : 'none',
      gpu.adapter ? 'not used: the WebGPU engine comes in a later release' : gpu.reason,
    ],
  ];
}

function adapterName({ description, vendor, architecture, fallback }: GpuAdapterInfo): string {
  const name = description || [vendor, architecture].filter(Boolean).join(' ') || 'unnamed';
  return fallback ? `${name} (software)` : name;
}
