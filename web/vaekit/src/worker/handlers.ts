/** What the worker does for each call. */
import { VaekitError } from '../errors.js';
import type { Calls, Entry, LoadRequest, Reply, Request, SentSource } from '../messages.js';
import type { Half, VaeInfo } from '../types.js';
import { choose, type Choice, describe, instantiate, tractChoice } from './engine.js';
import { fetchSource } from './fetch.js';
import type { Job } from './job.js';
import { pixels } from './pixels.js';
import { type Glue, hasRelaxedSimd } from './variants.js';

/** The VAE of this worker. */
let loaded: { glue: Glue; vae: InstanceType<Glue['Vae']> } | undefined;
/** The module for what needs no VAE. */
let plain: Promise<Glue> | undefined;

function utilities(): Promise<Glue> {
  plain ??= instantiate(choose({ engine: 'cpu', threads: 1 }));
  return plain;
}

function vae() {
  if (!loaded) throw new VaekitError('other', 'no VAE is loaded');
  return loaded;
}

async function files(source: SentSource, halves: Half[] | undefined, job: Job): Promise<Map<string, Blob>> {
  return 'url' in source ? fetchSource(source.url, halves, job.report) : source.files;
}

export type Handlers = { [C in keyof Calls]: (request: Request<C>, job: Job) => Promise<Reply<C>> };

export const handlers: Handlers = {
  async load(request, job) {
    job.report('starting', 0, 0);
    const choice = choose(request);
    // The module comes while the model does.
    const [given, glue] = await Promise.all([files(request.source, request.halves, job), instantiate(choice)]);
    return open(given, glue, choice, request, job);
  },

  async encode({ image, crop, sample, seed, latents }, job) {
    const { glue, vae: model } = vae();
    const watch = new Stopwatch();
    const { data, width, height } = await pixels(image);
    watch.lap('read');
    const options = JSON.stringify({ crop, sample, seed, latents });
    const rgba = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const encoded = await model.encode(rgba, width, height, options, job.observe('encoding'));
    watch.lap('encode');
    return { ...encoded, seconds: watch.seconds, peakBytes: glue.memoryBytes() };
  },

  async decode({ latents, domain, cropTo, bitmap }, job) {
    const { glue, vae: model } = vae();
    const watch = new Stopwatch();
    const options = JSON.stringify({ domain, crop_to: cropTo });
    const observe = job.observe('decoding');
    let decoded;
    if (latents instanceof Blob) {
      const bytes = await readBytes(latents);
      watch.lap('read');
      decoded = await model.decodeFile(nameOf(latents), bytes, options, observe);
    } else {
      decoded = await model.decode(latents.data, Uint32Array.from(latents.shape), latents.domain, options, observe);
    }
    watch.lap('decode');
    const { pixels, rgba, width, height } = decoded;
    const data = new ImageData(new Uint8ClampedArray(rgba.buffer), width, height);
    const image = bitmap ? await createImageBitmap(data) : data;
    watch.lap('write');
    return { image, pixels, seconds: watch.seconds, peakBytes: glue.memoryBytes() };
  },

  async convert({ source, options }, job) {
    const [given, glue] = await Promise.all([files(source, undefined, job), utilities()]);
    const entries = glue.convert(given, JSON.stringify(options), job.report);
    return entries.map(([path, content, crc32]): Entry => [path, new Blob([content]), crc32]);
  },

  async saveLatents({ latents: { data, shape, domain }, format, provenance }) {
    const glue = await utilities();
    return glue.saveLatents(data, Uint32Array.from(shape), domain, format, provenance);
  },

  async readLatents(file) {
    const glue = await utilities();
    const { latents, provenance } = glue.readLatents(nameOf(file), await readBytes(file));
    return { latents, ...(provenance && { provenance: JSON.parse(provenance) as object }) };
  },

  async metrics({ a, b }) {
    const glue = await utilities();
    const [first, second] = [a, b].map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return glue.metrics(first as Uint8Array, second as Uint8Array, a.width, a.height);
  },

  async report() {
    const gpu = await (await utilities()).gpuAdapter();
    return {
      relaxedSimd: hasRelaxedSimd(),
      isolated: self.crossOriginIsolated,
      hardwareThreads: navigator.hardwareConcurrency || 1,
      ...(gpu !== undefined && { gpu }),
    };
  },

  async fits({ manifest, width, height, maxBuffer }) {
    return (await utilities()).fits(manifest, width, height, maxBuffer);
  },
};

/** Opens a VAE, on tract where vaekit's own engine does not know the graph and was not asked for by name. */
async function open(
  given: Map<string, Blob>,
  glue: Glue,
  choice: Choice,
  request: LoadRequest,
  job: Job,
): Promise<VaeInfo> {
  const options = JSON.stringify({ ...request.checkpoint, halves: request.halves });
  try {
    const model = glue.Vae.load(given, options, job.report);
    loaded = { glue, vae: model };
    const info = JSON.parse(model.info()) as Omit<VaeInfo, 'engine'> & { engine: string };
    return { ...info, engine: describe(choice, info.engine) };
  } catch (error) {
    const { kind, message } = error as { kind?: string; message?: string };
    if (kind !== 'unsupported' || request.engine !== 'auto') throw error;
    const next = tractChoice(undefined, [`tract instead of vaekit's own engine: ${message}`]);
    return open(given, await instantiate(next), next, request, job);
  }
}

const nameOf = (file: Blob): string => (file instanceof File ? file.name : 'the file');

async function readBytes(file: Blob): Promise<Uint8Array> {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    throw new VaekitError('bad-input', `${nameOf(file)}: ${error instanceof Error ? error.message : error}`);
  }
}

/** Seconds by stage. */
class Stopwatch {
  readonly seconds: Record<string, number> = {};
  #last = performance.now();

  lap(stage: string): void {
    const now = performance.now();
    this.seconds[stage] = (now - this.#last) / 1000;
    this.#last = now;
  }
}
