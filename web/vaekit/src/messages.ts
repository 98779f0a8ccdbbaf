/** What page and worker say to each other. */
import type { Comparison } from './compare.js';
import type { ErrorCode, ErrorKind } from './errors.js';
import type { EngineInfo, Half, Latents, Progress, Tiles, VaeInfo } from './types.js';

/** A picture on its way: `ImageBitmap`s are handed over, pixels copied. */
export type SentImage = ImageBitmap | ImageData | Blob;

/** A `Source` on its way: files by path, or an absolute URL. */
export type SentSource = { files: Map<string, Blob> } | { url: string };

export interface LoadRequest {
  source: SentSource;
  engine: 'auto' | 'cpu' | 'tract' | 'webgpu';
  threads: number | undefined;
  halves: Half[] | undefined;
  checkpoint: CheckpointOptions;
}

/** As `vaekit-wasm` takes them. */
export interface CheckpointOptions {
  name?: string;
  /** JSON */
  config?: string;
  scaling?: string;
  precision?: 'fp32' | 'fp16';
}

export interface EncodeRequest {
  image: SentImage;
  crop: boolean;
  sample: boolean;
  seed: number;
  tiles: 'auto' | 'never' | number;
  latents?: 'raw' | 'scaled';
}

/** What a run says beside its result. */
export interface RunReply {
  seconds: Record<string, number>;
  peakBytes: number;
  operations: number;
  tiles?: Tiles;
  /** Where it had to go on with another engine. */
  engine?: EngineInfo;
}

export interface EncodeReply extends RunReply {
  latents: Latents;
  width: number;
  height: number;
  posterior?: { mean: Latents; std: Float32Array; kl: number };
}

export interface DecodeRequest {
  latents: Latents | Blob;
  domain?: 'raw' | 'scaled';
  cropTo?: { width: number; height: number };
  bitmap: boolean;
  tiles: 'auto' | 'never' | number;
}

export interface DecodeReply extends RunReply {
  image: ImageData | ImageBitmap;
  /** Where they were read back. */
  pixels?: Float32Array;
}

/** A file of a model folder, and its checksum for a zip. */
export type Entry = [path: string, content: Blob, crc32: number];

export interface WasmReport {
  relaxedSimd: boolean;
  isolated: boolean;
  hardwareThreads: number;
  /** null: WebGPU is there but gives no adapter. */
  gpu?: AdapterReport | null;
}

export interface AdapterReport {
  vendor: string;
  architecture: string;
  device: string;
  description: string;
  fallback: boolean;
  limits: Record<string, number>;
  features: string[];
}

/** A VAE that took part in a comparison, as `vaekit-wasm` takes it. */
export interface Entrant {
  name: string;
  family: string;
  engine: string;
  modelBytes: number;
  peakBytes: number;
  precision?: string;
  scalingSource?: string;
  tiles?: string;
  id: object;
}

/** A picture with what became of it in each VAE. */
export interface SentPicture {
  name: string;
  original: ImageData;
  trips: { image: ImageData; mean: Latents; kl?: number; encodeSeconds: number; decodeSeconds: number }[];
}

export interface SaveRequest {
  latents: Latents;
  format: string;
  /** JSON, or empty. */
  provenance: string;
}

/** What the worker can be asked for. */
export interface Calls {
  load(request: LoadRequest): VaeInfo;
  encode(request: EncodeRequest): EncodeReply;
  decode(request: DecodeRequest): DecodeReply;
  convert(request: { source: SentSource; options: CheckpointOptions }): Entry[];
  saveLatents(request: SaveRequest): Uint8Array<ArrayBuffer>;
  readLatents(file: Blob): { latents: Latents; provenance?: object };
  compare(request: { entrants: Entrant[]; pictures: SentPicture[] }): Comparison;
  metrics(request: { a: ImageData; b: ImageData }): { psnr: number; ssim: number };
  report(request: null): WasmReport;
  tryKernels(request: null): string;
  fits(request: { manifest: string; width: number; height: number; maxBuffer: number }): string;
}

export type Call = keyof Calls;
export type Request<C extends Call> = Parameters<Calls[C]>[0];
export type Reply<C extends Call> = ReturnType<Calls[C]>;

export type ToWorker =
  | { id: number; call: Call; request: unknown }
  | { abort: number }
  | { thread: ThreadStart }
  /** That the threads that were asked for run. */
  | { threads: 'run' };

/** A worker that is to be a thread of another's module. */
export interface ThreadStart {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  variant: string;
}

export type FromWorker =
  | { id: number; progress: Progress }
  | { wanted: number; thread: ThreadStart }
  | { id: number; reply: unknown }
  | ({ id: number } & Failure);

/** What a thread says: that it runs, or why it does not any more. */
export type FromThread = 'runs' | Failure;

export interface Failure {
  error: { kind: ErrorKind; message: string; code?: ErrorCode | undefined };
  /** Whether the worker cannot be used any more. */
  fatal: boolean;
}
