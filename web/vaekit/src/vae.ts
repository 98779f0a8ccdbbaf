import { Connection, type Interrupt } from './connection.js';
import { VaekitError } from './errors.js';
import type { DecodeRequest, EncodeRequest, LoadRequest } from './messages.js';
import { sendCheckpoint, sendImage, sendSource } from './send.js';
import type {
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
  /** What was loaded, and what runs it. */
  readonly info: VaeInfo;
  readonly #request: LoadRequest;
  #connection: Connection;
  /** The last of the calls: they run one after another. */
  #ready: Promise<unknown> = Promise.resolve();
  #disposed = false;

  private constructor(request: LoadRequest, connection: Connection, info: VaeInfo) {
    this.#request = request;
    this.#connection = connection;
    this.info = info;
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
    try {
      return new Vae(request, connection, await connection.call('load', request, options));
    } catch (error) {
      connection.end(error as VaekitError);
      throw error;
    }
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
      ...(options.latents && { latents: options.latents }),
    };
    const { width, height, ...reply } = await this.#run('encode', request, options, transfer);
    return { ...reply, imageSize: { width, height } };
  }

  /**
   * Decodes latents to a picture.
   *
   * @throws VaekitError
   */
  async decode(latents: LatentsInput, options: DecodeOptions = {}): Promise<Decoded> {
    const request: DecodeRequest = {
      latents: latents instanceof Blob ? latents : { data: latents.data, shape: latents.shape, domain: latents.domain },
      bitmap: options.output === 'ImageBitmap',
      ...(options.domain && { domain: options.domain }),
      ...(options.cropTo && { cropTo: { width: options.cropTo.width, height: options.cropTo.height } }),
    };
    const { pixels, ...reply } = await this.#run('decode', request, options, []);
    return { ...reply, pixels: () => pixels };
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
      await this.#reopen();
      return this.#connection.call<typeof call>(call, request as never, options, interrupt, transfer);
    };
    const result = this.#ready.then(run);
    this.#ready = result.catch(() => undefined);
    return result;
  }

  /** Loads again what a failure or a wish to cancel has ended. */
  async #reopen(): Promise<void> {
    if (this.#connection.isOpen || this.#disposed) return;
    this.#connection = new Connection();
    await this.#connection.call('load', this.#request);
  }
}
