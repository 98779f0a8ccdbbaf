import { devices, type Devices, type GpuAdapterInfo, type VaeInfo } from 'vaekit';

import type { App } from '../app';
import { byId, el } from '../dom';
import { bytes } from '../format';
import { type Fact, showFacts } from '../parts/facts';

const ENGINES = { cpu: 'CPU engine', tract: 'tract', webgpu: 'WebGPU' } as const;

/** One line that says what computes, and behind it why. */
export function showEngine({ engine }: App): void {
  let machine: Devices | undefined;
  const show = (info: VaeInfo | undefined): void => {
    byId('engine-line', HTMLElement).textContent = info ? summary(info) : 'Engine: not started';
    const facts = machine ? describe(machine, info) : [];
    showFacts(byId('engine-facts', HTMLElement), [...(info ? loaded(info) : []), ...facts]);
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
        machine = found;
        show(engine.info.value);
      });
    },
    { once: true },
  );
}

function summary({ engine: { name, threads, adapter, notices } }: VaeInfo): string {
  const where = adapter ?? (threads === 1 ? 'one thread' : `${threads} threads`);
  const line = `${ENGINES[name]}, ${where}`;
  return notices.length > 0 ? `${line} (see why)` : line;
}

function loaded({ name, family, engine, latents, weightsBytes }: VaeInfo): Fact[] {
  return [
    ['Engine', engine.detail],
    ['VAE', name, `${family}, ${bytes(weightsBytes)} of weights`],
    ['Latents', `${latents.channels} channels`, `one number each for ${latents.factor} by ${latents.factor} pixels`],
  ];
}

function describe({ wasm, gpu }: Devices, info: VaeInfo | undefined): Fact[] {
  const isolation = wasm.crossOriginIsolated ? 'the page is isolated, so all may be used' : 'the page is not isolated, so one is used';
  return [
    ['Processor threads', String(wasm.hardwareThreads), isolation],
    ['Memory of a page', `${bytes(wasm.maxMemoryBytes)} at most`],
    [
      'Graphics adapter',
      gpu.adapter ? adapterName(gpu.adapter) : 'none',
      gpu.adapter ? (info?.engine.name === 'webgpu' ? 'in use' : 'not in use') : gpu.reason,
    ],
  ];
}

function adapterName({ description, vendor, architecture, fallback }: GpuAdapterInfo): string {
  const name = description || [vendor, architecture].filter(Boolean).join(' ') || 'unnamed';
  return fallback ? `${name} (software)` : name;
}
