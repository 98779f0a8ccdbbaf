/** One half of a VAE. */
export type Half = 'encoder' | 'decoder';

/**
 * What a VAE is loaded from.
 *
 * A string or URL names a model folder (its vaekit.json, or vae_decoder/model.onnx and vae_encoder/model.onnx, are looked
 * up below it), a model.onnx, or a checkpoint (.safetensors, .ckpt, .pt, .pth, .bin). Blobs and Files are a checkpoint, both
 * halves of a TAESD, a model.onnx, or the files of a model folder under their paths (`File.webkitRelativePath`, or the keys).
 */
export type Source = string | URL | Blob | File | File[] | { [path: string]: Blob };

/** How far a piece of work is. */
export interface Progress {
  /** What is being done, for people. */
  stage: string;
  /** In units of the stage. */
  done: number;
  /** In units of the stage; 0 where it is not known. */
  total: number;
  /** Seconds that are left, estimated. */
  left?: number;
}

export interface Options {
  /** Ends the work; the promise is then rejected with a {@link VaekitError} of kind `cancelled`. */
  signal?: AbortSignal;
  /** Told how far the work is. */
  onProgress?: (progress: Progress) => void;
}

export interface LoadOptions extends Options {
  /**
   * What runs the models. One that is asked for by name is used, or it is an error. `auto`, the default, takes WebGPU on a
   * real GPU, else vaekit's CPU engine, else tract, and goes on with the next where one fails; `vae.info.engine` says which
   * runs now and why.
   */
  engine?: 'auto' | 'cpu' | 'tract' | 'webgpu';
  /**
   * Of the CPU engine. Default: as many as the machine has where the page is cross-origin isolated, else 1. More than one is
   * then an error, unless `auto` takes WebGPU, or the CPU in its place.
   */
  threads?: number;
  /** Default: those that are there. */
  halves?: Half[];
  /** diffusers' config.json, where a checkpoint or a model of others does not say enough. */
  config?: object;
  /** How a checkpoint's latents are scaled: `sd1`, `sdxl`, `sd3`, `flux1` ..., or a factor and perhaps a shift: `0.18215`. */
  scaling?: string;
  /** A name for people and for the latents' files. */
  name?: string;
}

export interface EngineInfo {
  name: 'cpu' | 'tract' | 'webgpu';
  /** For people: `vaekit-cpu 0.1.0 on wasm relaxed-simd, 2 threads`. */
  detail: string;
  threads: number;
  /** Where it runs on the processor. */
  simd?: 'simd128' | 'relaxed';
  /** Where it runs on a GPU: its name, for people. */
  adapter?: string;
  /** What was passed over, and why: for people. */
  notices: string[];
}

export interface VaeInfo {
  name: string;
  /** diffusers' class: `AutoencoderKL`, `AutoencoderTiny` ... */
  family: string;
  halves: Half[];
  latents: {
    channels: number;
    /** Pixels to a latent, each way. */
    factor: number;
    /** What the models give and take. */
    native: 'raw' | 'scaled';
    scalingFactor?: number;
    shiftFactor?: number;
  };
  /** Whether the encoder gives a distribution, so that latents can be sampled. */
  hasPosterior: boolean;
  engine: EngineInfo;
  /** Of the halves that are loaded, as f32. */
  weightsBytes: number;
  /** Of its ONNX files. */
  modelBytes: number;
  /** Numbers inside the graphs, where the model folder says. */
  precision?: 'fp32' | 'fp16';
  /** Where the scaling was learned from, where the model folder says. */
  scalingSource?: string;
  /** What files of its latents say of it. */
  id: object;
}

/** When a picture is cut into tiles, which overlap and are cross-faded. */
export interface TileOptions {
  /** Default: `auto`, where one piece does not fit into memory. A number: always, in tiles of so many pixels a side. */
  tiles?: 'auto' | 'never' | number;
}

/** How a picture was cut. */
export interface Tiles {
  columns: number;
  rows: number;
  /** Of each, in latents. */
  width: number;
  height: number;
  /** Whether each was normalised by itself, so that tones may shift from one to the next. */
  alone: boolean;
  /**
   * How far what the tiles were normalised by is from what they have together, in deviations, where the last run did not
   * bring the two close.
   */
  apart?: number;
}

export type Canvas = HTMLCanvasElement | OffscreenCanvas;

/** A picture. Alpha is passed over. */
export type ImageInput = ImageBitmap | ImageData | HTMLCanvasElement | OffscreenCanvas | Blob;

/** Latents that say which convention they follow: raw as the VAE makes them, scaled as diffusion models see them. */
export interface Latents {
  data: Float32Array;
  /** [1, C, h, w] */
  shape: [number, number, number, number];
  domain: 'raw' | 'scaled';
}

/** Latents, or a file of them: .safetensors, .latent (ComfyUI), .npy, .npz. */
export type LatentsInput = Latents | Blob;

export interface EncodeOptions extends Options, TileOptions {
  /** What to do with sides that are no multiple of the VAE's factor. Default: `pad`, by reflection. */
  resize?: 'pad' | 'crop';
  /** Draw from the posterior rather than take its mean. */
  sample?: boolean;
  /** Of the draw. The same seed draws the same latents as the native program. Default: 0. */
  seed?: number;
  /** Which latents to give. Default: what the VAE makes. */
  latents?: 'raw' | 'scaled';
}

export interface Encoded {
  latents: Latents;
  /** Before padding: what `cropTo` takes. */
  imageSize: { width: number; height: number };
  /** Where the VAE has one; raw. */
  posterior?: { mean: Latents; std: Float32Array; /** in nats */ kl: number };
  /** By stage: `read`, `encode` or `decode`, `write`; on a GPU `upload`, `compute` and `output` apart. */
  seconds: Record<string, number>;
  /** Memory of the module, at most. */
  peakBytes: number;
  /** Multiplications and additions that the model asks for, whatever an engine saves of them. */
  operations: number;
  /** Where the picture went in tiles. */
  tiles?: Tiles;
}

export interface DecodeOptions extends Options, TileOptions {
  /** Default: `ImageData`. From WebGPU an `ImageBitmap` need not leave the GPU. */
  output?: 'ImageData' | 'ImageBitmap';
  /** Takes the picture's size and shows it, instead of handing it back; nothing else may draw on it. */
  canvas?: Canvas;
  /** Takes off what encoding padded. */
  cropTo?: { width: number; height: number };
  /** What the latents are, whatever they or their file say. */
  domain?: 'raw' | 'scaled';
}

export interface Decoded<Image = ImageData> {
  image: Image;
  /** [3, H, W] as the decoder gave them: nominally in [-1, 1], not clamped. An error where the picture stayed on the GPU. */
  pixels(): Float32Array;
  /** By stage: `read`, `encode` or `decode`, `write`; on a GPU `upload`, `compute` and `output` apart. */
  seconds: Record<string, number>;
  /** Memory of the module, at most. */
  peakBytes: number;
  /** Multiplications and additions that the model asks for, whatever an engine saves of them. */
  operations: number;
  /** Where the picture went in tiles. */
  tiles?: Tiles;
}
