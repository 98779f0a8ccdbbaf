import * as compare from 'glue:compare';
import * as relaxed from 'glue:relaxed';
import * as relaxedThreads from 'glue:relaxed-threads';
import * as simd128 from 'glue:simd128';
import * as simd128Threads from 'glue:simd128-threads';
import * as tract from 'glue:tract';
import * as webgpu from 'glue:webgpu';

import { VaekitError } from '../errors.js';

export type Glue = typeof import('glue:*');

/** A build of the wasm crate. */
export interface Variant {
  glue: Glue;
  url: URL;
}

// Each address stands here as bundlers know it: a literal beside `import.meta.url`.
const variants: Record<string, Variant> = {
  simd128: { glue: simd128, url: new URL('./vaekit-simd128.wasm', import.meta.url) },
  relaxed: { glue: relaxed, url: new URL('./vaekit-relaxed.wasm', import.meta.url) },
  'simd128-threads': { glue: simd128Threads, url: new URL('./vaekit-simd128-threads.wasm', import.meta.url) },
  'relaxed-threads': { glue: relaxedThreads, url: new URL('./vaekit-relaxed-threads.wasm', import.meta.url) },
  tract: { glue: tract, url: new URL('./vaekit-tract.wasm', import.meta.url) },
  compare: { glue: compare, url: new URL('./vaekit-compare.wasm', import.meta.url) },
  webgpu: { glue: webgpu, url: new URL('./vaekit-webgpu.wasm', import.meta.url) },
};

export function variant(name: string): Variant {
  const found = variants[name];
  if (!found || found.glue.missing) throw new VaekitError('engine', `the module ${name} is not part of this build`);
  return found;
}

/** A module with one function that ends in these instructions. */
const validates = (...instructions: number[]): boolean => {
  const body = [0, ...instructions, 0x0b];
  const code = [1, body.length, ...body];
  const bytes = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0, 10, code.length, ...code];
  return WebAssembly.validate(new Uint8Array(bytes));
};
/** i32.const 0, i8x16.splat */
const vector = [0x41, 0, 0xfd, 0x0f];

export const hasSimd = (): boolean => validates(...vector);
/** Thrice a vector, f32x4.relaxed_madd. */
export const hasRelaxedSimd = (): boolean => validates(...vector, ...vector, ...vector, 0xfd, 0x85, 0x02);

export async function compile({ url }: Variant): Promise<WebAssembly.Module> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new VaekitError('network', `${url.href} could not be fetched: ${error instanceof Error ? error.message : error}`);
  }
  if (!response.ok) throw new VaekitError('network', `${url.href} could not be fetched: ${response.status}`);
  // Streaming wants the right type, which not every server sends.
  const isWasm = response.headers.get('content-type')?.startsWith('application/wasm');
  return isWasm ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer());
}
