import { VaekitError } from '../errors.js';
import type { LoadRequest } from '../messages.js';
import type { EngineInfo } from '../types.js';
import { startThreads } from './threads.js';
import { compile, type Glue, hasRelaxedSimd, hasSimd, variant } from './variants.js';

/** Which module runs, and why. */
export interface Choice {
  engine: 'cpu' | 'tract';
  simd: EngineInfo['simd'];
  threads: number;
  notices: string[];
}

/** The engine that is asked for, or the best that is there. */
export function choose(request: Pick<LoadRequest, 'engine' | 'threads'>): Choice {
  const { engine, threads: asked } = request;
  if (engine === 'webgpu') {
    throw new VaekitError('engine', 'this version has no WebGPU engine; use auto, cpu or tract');
  }
  if (!hasSimd()) throw new VaekitError('engine', 'this browser has no SIMD in WebAssembly; use a newer one');
  if (asked !== undefined && !(Number.isInteger(asked) && asked >= 1)) {
    throw new VaekitError('bad-input', `threads are ${asked}, expected a whole number from 1`);
  }
  if (engine === 'tract') return tractChoice(asked, []);
  const notices: string[] = [];
  const isolated = self.crossOriginIsolated;
  if (!isolated && (asked ?? 1) > 1) {
    throw new VaekitError('engine', `${asked} threads need a page that is cross-origin isolated: ${HEADERS}`);
  }
  if (!isolated) notices.push(`one thread: the page is not cross-origin isolated (${HEADERS})`);
  const simd = hasRelaxedSimd() ? 'relaxed' : 'simd128';
  if (simd === 'simd128') notices.push('no fused multiply-add: this browser has no relaxed SIMD');
  const threads = asked ?? (isolated ? navigator.hardwareConcurrency || 1 : 1);
  return { engine: 'cpu', simd, threads, notices };
}

const HEADERS = 'Cross-Origin-Opener-Policy: same-origin, Cross-Origin-Embedder-Policy: require-corp';

/** tract has one thread and one set of instructions. */
export function tractChoice(asked: number | undefined, notices: string[]): Choice {
  if ((asked ?? 1) > 1) throw new VaekitError('engine', `tract has one thread in a browser, and ${asked} were asked for`);
  return { engine: 'tract', simd: 'simd128', threads: 1, notices: [...notices, 'one thread: tract has no more in a browser'] };
}

/** Loads the module of a choice. An isolated page has one for all it does, whatever the number of threads. */
export async function instantiate({ engine, simd, threads }: Choice): Promise<Glue> {
  const name = engine === 'tract' ? 'tract' : self.crossOriginIsolated ? `${simd}-threads` : simd;
  const found = variant(name);
  const module = await compile(found);
  const exports = (await found.glue.default({ module_or_path: module })) as { memory: WebAssembly.Memory };
  if (threads > 1) {
    const { memory } = exports;
    await startThreads(found.glue, { module, memory, variant: name }, threads);
  }
  return found.glue;
}

/** For people. */
export function describe(choice: Choice, engine: string): EngineInfo {
  const { simd, threads, notices } = choice;
  const instructions = simd === 'relaxed' ? 'relaxed-simd' : 'simd128';
  const [what = engine, version = ''] = engine.split(' ');
  const program = what === 'cpu' ? 'vaekit-cpu' : what;
  const detail = `${program} ${version} on wasm ${instructions}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  return { name: choice.engine, detail, threads, simd, notices };
}
