import { VaekitError } from '../errors.js';
import type { LoadRequest } from '../messages.js';
import type { EngineInfo } from '../types.js';
import { findGpu, type Gpu } from './gpu.js';
import { startThreads } from './threads.js';
import { compile, type Glue, hasRelaxedSimd, hasSimd, variant } from './variants.js';

/** A module that can run, and how. */
export interface Choice {
  engine: 'cpu' | 'tract' | 'webgpu';
  simd: 'simd128' | 'relaxed';
  threads: number;
  /** For WebGPU. */
  gpu?: Gpu;
  /** What it does without, and why. */
  notices: string[];
}

/** What is tried in this order, and what was passed over before. */
export interface Plan {
  choices: Choice[];
  notices: string[];
}

/** For people. */
export const NAMES = { cpu: "vaekit's CPU engine", tract: 'tract', webgpu: 'WebGPU' } as const;

/** The engine that is asked for, or those that are there, the best first. */
export async function choose({ engine, threads }: Pick<LoadRequest, 'engine' | 'threads'>): Promise<Plan> {
  if (!hasSimd()) throw new VaekitError('engine', 'this browser has no SIMD in WebAssembly; use a newer one');
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1)) {
    throw new VaekitError('bad-input', `threads are ${threads}, expected a whole number from 1`);
  }
  switch (engine) {
    case 'cpu':
      return { choices: [cpu(threads)], notices: [] };
    case 'tract':
      return { choices: [single(engine, threads)], notices: [] };
    case 'webgpu':
      return { choices: [{ ...single(engine, threads), gpu: await findGpu() }], notices: [] };
    case 'auto': {
      const found = await findGpu();
      const { unfit } = found;
      const notices = unfit ? [`${NAMES.cpu} instead of WebGPU: ${unfit}`] : [];
      const gpu = unfit ? [] : [{ ...single('webgpu', undefined), gpu: found }];
      return { choices: [...gpu, cpu(threads, gpu.length > 0), single('tract', undefined)], notices };
    }
    default:
      throw new VaekitError('bad-input', `there is no engine ${engine}; expected auto, cpu, tract or webgpu`);
  }
}

const HEADERS = 'Cross-Origin-Opener-Policy: same-origin, Cross-Origin-Embedder-Policy: require-corp';

/** As `instead` of a GPU it does with one thread what it cannot do with those that were asked for. */
export function cpu(asked: number | undefined, instead = false): Choice {
  const notices: string[] = [];
  const isolated = self.crossOriginIsolated;
  if (!isolated && (asked ?? 1) > 1 && !instead) {
    throw new VaekitError('engine', `${asked} threads need a page that is cross-origin isolated: ${HEADERS}`);
  }
  if (!isolated) notices.push(`one thread: the page is not cross-origin isolated (${HEADERS})`);
  const simd = hasRelaxedSimd() ? 'relaxed' : 'simd128';
  if (simd === 'simd128') notices.push('no fused multiply-add: this browser has no relaxed SIMD');
  const threads = isolated ? (asked ?? (navigator.hardwareConcurrency || 1)) : 1;
  return { engine: 'cpu', simd, threads, notices };
}

/** An engine with one thread and one set of instructions. */
export function single(engine: 'tract' | 'webgpu', asked: number | undefined): Choice {
  if ((asked ?? 1) > 1) {
    throw new VaekitError('engine', `${NAMES[engine]} has one thread in a browser, and ${asked} were asked for`);
  }
  const notices = engine === 'tract' ? ['one thread: tract has no more in a browser'] : [];
  return { engine, simd: 'simd128', threads: 1, notices };
}

const started = new Map<string, Promise<Glue>>();

/** The module of a choice. An isolated page has one for all it does on the CPU, whatever the number of threads. */
export function instantiate({ engine, simd, threads }: Choice): Promise<Glue> {
  return module(engine !== 'cpu' ? engine : self.crossOriginIsolated ? `${simd}-threads` : simd, threads);
}

/** A module by its name, loaded once. */
export function module(name: string, threads = 1): Promise<Glue> {
  const key = `${name} ${threads}`;
  const known = started.get(key);
  if (known) return known;
  const glue = start(name, threads);
  started.set(key, glue);
  // The next call tries again: the network may be back.
  glue.catch(() => started.delete(key));
  return glue;
}

async function start(name: string, threads: number): Promise<Glue> {
  const found = variant(name);
  const module = await compile(found);
  const exports = (await found.glue.default({ module_or_path: module })) as { memory: WebAssembly.Memory };
  if (threads > 1) {
    const { memory } = exports;
    await startThreads(found.glue, { module, memory, variant: name }, threads);
  }
  return found.glue;
}

/** What a module says of its engine. */
export interface Found {
  /** `cpu 0.1.0 on ...` */
  engine: string;
  adapter?: string;
  notices: string[];
}

/** For people. */
export function describe({ engine, simd, threads, gpu, notices }: Choice, found: Found, passedOver: string[]): EngineInfo {
  const [what, version = ''] = found.engine.split(' ');
  const program = what === 'tract' ? what : `vaekit-${what}`;
  const instructions = simd === 'relaxed' ? 'relaxed-simd' : 'simd128';
  const adapter = gpu?.name || found.adapter;
  const where = adapter ?? `wasm ${instructions}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  return {
    name: engine,
    detail: `${program} ${version} on ${where}`,
    threads,
    ...(adapter === undefined ? { simd } : { adapter }),
    notices: [...passedOver, ...notices, ...found.notices],
  };
}
