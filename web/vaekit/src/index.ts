/**
 * Stable Diffusion VAEs in the browser.
 *
 * Everything runs in web workers of the package's own, and nothing is fetched but the URLs that are handed to it.
 */
export { Vae } from './vae.js';
export { compare } from './compare.js';
export type { Cell, ComparedPicture, Comparison, Region, Summary, Trip, Verdict, Warning } from './compare.js';
export { convert } from './convert.js';
export type { ConvertOptions, ModelFolder } from './convert.js';
export { devices, tryKernels } from './devices.js';
export type { Devices, Fit, GpuAdapterInfo, KernelTrial } from './devices.js';
export { readLatents, saveLatents } from './latents.js';
export { metrics } from './metrics.js';
export { VaekitError } from './errors.js';
export type { ErrorCode, ErrorKind } from './errors.js';
export type {
  Canvas,
  Decoded,
  DecodeOptions,
  Encoded,
  EncodeOptions,
  EngineInfo,
  Half,
  ImageInput,
  Latents,
  LatentsInput,
  LoadOptions,
  Options,
  Progress,
  Source,
  TileOptions,
  Tiles,
  VaeInfo,
} from './types.js';
