import { Connection, helper } from './connection.js';
import { VaekitError } from './errors.js';
import type { AdapterReport } from './messages.js';

export type GpuAdapterInfo = AdapterReport;

/** What could run a model, or why not. */
export interface Fit {
  half: 'encoder' | 'decoder';
  engine: 'cpu' | 'webgpu';
  fits: boolean;
  /** For people. */
  why: string;
}

export interface Devices {
  wasm: {
    simd: 'simd128' | 'relaxed';
    /** As many as would be used. */
    threads: number;
    hardwareThreads: number;
    crossOriginIsolated: boolean;
    /** What a module can address. */
    maxMemoryBytes: number;
  };
  /** WebGPU's high-performance adapter; null with a reason where there is none. */
  gpu: { adapter: GpuAdapterInfo | null; reason?: string };
  /** For a manifest's hints. */
  fits: Fit[];
}

/**
 * What this browser has to run a VAE on. With a model folder's manifest (vaekit.json) and a picture's size it also says what
 * could run where, and why.
 */
export async function devices(model?: { manifest: object; width: number; height: number }): Promise<Devices> {
  const report = await helper().call('report', null);
  const adapter = report.gpu ?? null;
  const fits = model ? await fit(model, adapter) : [];
  return {
    wasm: {
      simd: report.relaxedSimd ? 'relaxed' : 'simd128',
      threads: report.isolated ? report.hardwareThreads : 1,
      hardwareThreads: report.hardwareThreads,
      crossOriginIsolated: report.isolated,
      maxMemoryBytes: 2 ** 32,
    },
    gpu: adapter
      ? { adapter }
      : { adapter: null, reason: report.gpu === null ? 'WebGPU gives no adapter here' : 'this browser has no WebGPU' },
    fits,
  };
}

async function fit(model: { manifest: object; width: number; height: number }, adapter: GpuAdapterInfo | null): Promise<Fit[]> {
  const { maxBufferSize = 0, maxStorageBufferBindingSize = 0 } = adapter?.limits ?? {};
  const request = {
    manifest: JSON.stringify(model.manifest),
    width: model.width,
    height: model.height,
    maxBuffer: Math.min(maxBufferSize, maxStorageBufferBindingSize),
  };
  return JSON.parse(await helper().call('fits', request)) as Fit[];
}

/** What a kernel of the WebGPU engine did on this browser's GPU. */
export interface KernelTrial {
  kernel: string;
  /** What is wrong with it, or null. */
  wrong: string | null;
}

/**
 * Tries every kernel of the WebGPU engine on small cases: for reports of drivers. The engine does the same with those that it
 * takes, and takes others in place of wrong ones.
 *
 * @throws VaekitError
 */
export async function tryKernels(): Promise<KernelTrial[]> {
  const connection = new Connection();
  try {
    return JSON.parse(await connection.call('tryKernels', null)) as KernelTrial[];
  } finally {
    connection.end(new VaekitError('other', 'the trial is over'));
  }
}
