import { devices, type VaeInfo } from 'vaekit';

import { bytes } from './format';
import type { Stage } from './stages';

/** What was computed, on what and how fast: text for a bug report or a table of other people's machines. */
export async function report({ name, family, weightsBytes, engine }: VaeInfo, picture: string, stages: Stage[]): Promise<string> {
  const { wasm, gpu } = await devices();
  const limits = Object.entries(gpu.adapter?.limits ?? {}).map(([limit, value]) => `${limit} ${value}`);
  const adapter = gpu.adapter
    ? [gpu.adapter.vendor, gpu.adapter.architecture, gpu.adapter.description, ...limits, ...gpu.adapter.features].filter(Boolean)
    : [gpu.reason ?? 'none'];
  return [
    `engine: ${engine.detail}`,
    ...engine.notices.map((notice) => `  ${notice}`),
    `VAE: ${name}, ${family}, ${bytes(weightsBytes)} of weights; picture ${picture}`,
    ...stages.map(
      ({ name, seconds, gflops, peakBytes }) =>
        `  ${name}: ${seconds.toFixed(3)} s` +
        (gflops === undefined ? '' : `, ${gflops.toFixed(1)} GFLOP/s`) +
        (peakBytes === undefined ? '' : `, ${bytes(peakBytes)} at most`),
    ),
    `adapter: ${adapter.join(', ')}`,
    `processor: ${wasm.hardwareThreads} threads, ${wasm.simd}${wasm.crossOriginIsolated ? '' : ', not isolated'}`,
    `browser: ${navigator.userAgent}`,
  ].join('\n');
}
