/** What wasm-bindgen makes of `crates/vaekit-wasm`, once for each variant. */
declare module 'glue:*' {
  export default function init(options: {
    module_or_path: WebAssembly.Module;
    memory?: WebAssembly.Memory;
  }): Promise<unknown>;

  export class Vae {
    static load(files: Map<string, Blob>, options: string, report: Report): Promise<Vae>;
    info(): string;
    encode(rgba: Uint8Array, width: number, height: number, options: string, observe: Observe): Promise<WasmEncoded>;
    decode(
      data: Float32Array,
      shape: Uint32Array,
      domain: string,
      options: string,
      observe: Observe,
    ): Promise<WasmDecoded>;
    decodeFile(name: string, bytes: Uint8Array, options: string, observe: Observe): Promise<WasmDecoded>;
  }
  export function convert(
    files: Map<string, Blob>,
    options: string,
    report: Report,
  ): [path: string, content: Blob | string, crc32: number][];
  export function saveLatents(
    data: Float32Array,
    shape: Uint32Array,
    domain: string,
    format: string,
    provenance: string,
  ): Uint8Array<ArrayBuffer>;
  export function readLatents(name: string, bytes: Uint8Array): { latents: WasmLatents; provenance?: string };
  /** In a variant of its own, which has nothing else. */
  export class Comparison {
    constructor(entrants: string);
    picture(name: string, rgba: Uint8Array, width: number, height: number): void;
    trip(
      rgba: Uint8Array,
      data: Float32Array,
      shape: Uint32Array,
      domain: string,
      kl: number | undefined,
      encodeSeconds: number,
      decodeSeconds: number,
    ): void;
    finish(): { findings: string; json: string; csv: string; html: string };
  }
  export function metrics(
    a: Uint8Array,
    b: Uint8Array,
    width: number,
    height: number,
  ): { psnr: number; ssim: number };
  export function gpuAdapter(): Promise<import('../messages.js').AdapterReport | null | undefined>;
  export function fits(manifest: string, width: number, height: number, maxBuffer: number): string;
  export function memoryBytes(): number;
  /** In the variant of WebGPU. */
  export const tryKernels: (() => Promise<string>) | undefined;
  /** In the variants with threads. */
  export const startThreads: ((threads: number) => void) | undefined;
  export const runThread: (() => void) | undefined;
  /** Set where the variant was not built. */
  export const missing: true | undefined;

  type Report = (stage: string, done: number, total: number) => void;
  type Observe = (done: number, total: number) => Promise<boolean>;
  type WasmLatents = import('../types.js').Latents;
  type WasmTiles = import('../types.js').Tiles;
  interface WasmEncoded {
    latents: WasmLatents;
    width: number;
    height: number;
    posterior?: { mean: WasmLatents; std: Float32Array; kl: number };
    operations: number;
    tiles?: WasmTiles;
    /** Seconds, where the engine tells. */
    stages: Record<string, number>;
  }
  type WasmDecoded = {
    width: number;
    height: number;
    operations: number;
    stages: Record<string, number>;
  } & ({ pixels: Float32Array; rgba: Uint8Array<ArrayBuffer>; tiles?: WasmTiles } | { bitmap: ImageBitmap });
}
