import { Connection, type Interrupt } from './connection.js';
import { VaekitError } from './errors.js';
import type { DecodeRequest, EncodeRequest, LoadRequest } from './messages.js';
import { checkLatents, sendCheckpoint, sendImage, sendSource } from './send.js';
import type {
  Canvas,
  Decoded,
  DecodeOptions,
  Encoded,
  EncodeOptions,
  ImageInput,
  LatentsInput,
  LoadOptions,
  Options,
  Source,
  VaeInfo,
} from './types.js';

/** A VAE in a worker of its own. */
export class Vae {
  #info: VaeInfo;
  readonly #request: LoadRequest;
  #connection: Connection;
  /** The last of the calls: they run one after another. */
  #ready: Promise<unknown> = Promise.resolve();
  #disposed = false;

  private constructor(request: LoadRequest, connection: Connection, info: VaeInfo) {
    this.#request = request;
    this.#connection = connection;
    this.#info = info;
  }

  /** What was loaded, and what runs it now. */
  get info(): VaeInfo {
    return this.#info;
  }

  /**
   * Loads a VAE. A checkpoint is converted first, here in the page.
   *
   * @throws VaekitError
   */
  static async load(source: Source, options: LoadOptions = {}): Promise<Vae> {
    const request: LoadRequest = {
      source: sendSource(source),
      engine: options.engine ?? 'auto',
      threads: options.threads,
      halves: options.halves,
      checkpoint: sendCheckpoint(options),
    };
    const connection = new Connection();
    return new Vae(request, connection, await loadIn(connection, request, options));
  }

  /**
   * Encodes a picture to latents.
   *
   * @throws VaekitError
   */
  async encode(input: ImageInput, options: EncodeOptions = {}): Promise<Encoded> {
    const { image, transfer } = await sendImage(input);
    const request: EncodeRequest = {
      image,
      crop: options.resize === 'crop',
      sample: options.sample ?? false,
      seed: options.seed ?? 0,
      tiles: options.tiles ?? 'auto',
      ...(options.latents && { latents: options.latents }),
    };
    const { width, height, ...reply } = await this.#run('encode', request, options, transfer);
    return { ...reply, imageSize: { width, height } };
  }

  /**
   * Decodes latents to a picture, and draws it if there is a `canvas`.
   *
   * @throws VaekitError
   */
  decode(latents: LatentsInput, options: DecodeOptions & { output: 'ImageBitmap' }): Promise<Decoded<ImageBitmap>>;
  decode(latents: LatentsInput, options: DecodeOptions & { canvas: Canvas }): Promise<Decoded<undefined>>;
  decode(latents: LatentsInput, options?: DecodeOptions): Promise<Decoded<ImageData>>;
  async decode(latents: LatentsInput, options: DecodeOptions = {}): Promise<Decoded<unknown>> {
    const draw = options.canvas && renderer(options.canvas);
    const request: DecodeRequest = {
      latents: latents instanceof Blob ? latents : checkLatents(latents, options.domain),
      bitmap: options.output === 'ImageBitmap' || draw !== undefined,
      tiles: options.tiles ?? 'auto',
      ...(options.domain && { domain: options.domain }),
      ...(options.cropTo && { cropTo: { width: options.cropTo.width, height: options.cropTo.height } }),
    };
    const { pixels, ...reply } = await this.#run('decode', request, options, []);
    draw?.(reply.image as ImageBitmap);
    return {
      ...reply,
      image: draw ? undefined : reply.image,
      pixels: () => {
        if (pixels) return pixels;
        throw new VaekitError('other', 'the picture was never read back from the GPU; decode to ImageData to have its values');
      },
    };
  }

  /** Ends the worker and frees its memory. */
  dispose(): void {
    this.#disposed = true;
    this.#connection.end(new VaekitError('other', `the VAE ${this.info.name} was disposed of`));
  }

  #run<C extends 'encode' | 'decode'>(
    call: C,
    request: C extends 'encode' ? EncodeRequest : DecodeRequest,
    options: Options,
    transfer: Transferable[],
  ) {
    // tract runs a model in one go: only the end of its worker stops it.
    const interrupt: Interrupt = this.info.engine.name === 'tract' ? 'end' : 'ask';
    const run = async () => {
      await this.#reopen(options);
      const reply = await this.#connection.call<typeof call>(call, request as never, options, interrupt, transfer);
      const { engine } = reply;
      if (engine) this.#info = { ...this.#info, engine };
      return reply;
    };
    const result = this.#ready.then(run);
    // Without the result, which is large.
    this.#ready = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }

  /** Loads again what a failure or a wish to cancel has ended. */
  async #reopen(options: Options): Promise<void> {
    if (this.#connection.isOpen || this.#disposed) return;
    const connection = new Connection();
    this.#connection = connection;
    this.#info = await loadIn(connection, this.#request, options);
  }
}

/** A connection without a VAE is of no use: where it cannot be loaded, that is the end. */
async function loadIn(connection: Connection, request: LoadRequest, options: Options): Promise<VaeInfo> {
  try {
    return await connection.call('load', request, options);
  } catch (error) {
    connection.end(error as VaekitError);
    throw error;
  }
}

/** Shows bitmaps on a canvas, without a copy. */
function renderer(canvas: Canvas): (image: ImageBitmap) => void {
  const context = canvas.getContext('bitmaprenderer') as ImageBitmapRenderingContext | null;
  if (!context) {
    throw new VaekitError('bad-input', 'the canvas is drawn on in another way already; decode to an ImageBitmap and draw that');
  }
  return (image) => {
    [canvas.width, canvas.height] = [image.width, image.height];
    context.transferFromImageBitmap(image);
  };
}
