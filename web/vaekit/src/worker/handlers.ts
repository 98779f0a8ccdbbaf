/** What the worker does for each call. */
import { VaekitError } from '../errors.js';
import type { Calls, DecodeRequest, Entry, LoadRequest, Reply, Request, RunReply, SentSource } from '../messages.js';
import type { EngineInfo, Half, Latents, VaeInfo } from '../types.js';
import { choose, type Choice, cpu, describe, type Found, instantiate, module, NAMES, type Plan, single } from './engine.js';
import { fetchSource } from './fetch.js';
import { drawsBitmaps } from './gpu.js';
import type { Job } from './job.js';
import { pixels } from './pixels.js';
import { type Glue, hasRelaxedSimd } from './variants.js';

type WasmVae = InstanceType<Glue['Vae']>;

/** The VAE of this worker, and what to go on with where its engine fails. */
interface Loaded {
  glue: Glue;
  vae: WasmVae;
  choice: Choice;
  engine: EngineInfo;
  rest: Choice[];
  passedOver: string[];
  given: Map<string, Blob>;
  request: LoadRequest;
  /** Whether bitmaps come from the GPU without being read back. */
  draws: boolean;
}
let loaded: Loaded | undefined;

/** Opens the VAE on the next engine, where the last has failed and that could not be opened at once. */
let reopen: ((job: Job) => Promise<unknown>) | undefined;

/** The engine that the page knows of. */
let told: EngineInfo | undefined;

/** The module for what needs no VAE. */
const utilities = (): Promise<Glue> => instantiate(cpu(1));

async function files(source: SentSource, halves: Half[] | undefined, job: Job): Promise<Map<string, Blob>> {
  return 'url' in source ? fetchSource(source.url, halves, job.report) : source.files;
}

export type Handlers = { [C in keyof Calls]: (request: Request<C>, job: Job) => Promise<Reply<C>> };

export const handlers: Handlers = {
  async load(request, job) {
    job.report('starting', 0, 0);
    const plan = await choose(request);
    // The module comes while the model does; if it does not, that is told below.
    void instantiate(plan.choices[0]!).catch(() => undefined);
    const info = await open(await files(request.source, request.halves, job), plan, request, job);
    told = info.engine;
    return info;
  },

  async encode({ image, crop, sample, seed, latents, tiles }, job) {
    const watch = new Stopwatch();
    const { data, width, height } = await pixels(image);
    watch.lap('read');
    const options = JSON.stringify({ crop, sample, seed, latents, tiles });
    return run(job, watch, tiles, async (vae) => {
      const { stages, ...encoded } = await vae.encode(bytesOf({ data }), width, height, options, job.observe('encoding'));
      watch.lap('encode', stages);
      return encoded;
    });
  },

  async decode({ latents, domain, cropTo, bitmap, tiles }, job) {
    const watch = new Stopwatch();
    const file = latents instanceof Blob ? { name: nameOf(latents), bytes: await readBytes(latents) } : undefined;
    if (file) watch.lap('read');
    return run(job, watch, tiles, async (vae, draws) => {
      const options = JSON.stringify({ domain, crop_to: cropTo, bitmap: bitmap && draws, tiles });
      const observe = job.observe('decoding');
      const decoding = file
        ? vae.decodeFile(file.name, file.bytes, options, observe)
        : decodeArray(vae, latents as Latents, options, observe);
      const { stages, operations, width, height, ...picture } = await decoding;
      watch.lap('decode', stages);
      if ('bitmap' in picture) return { image: picture.bitmap, operations };
      const { pixels, rgba, tiles: cut } = picture;
      const data = new ImageData(new Uint8ClampedArray(rgba.buffer), width, height);
      const image = bitmap ? await createImageBitmap(data) : data;
      watch.lap('write');
      return { image, pixels, operations, ...(cut && { tiles: cut }) };
    });
  },

  async convert({ source, options }, job) {
    // fp16 has to run the network, and does so in the module of what is seldom asked for.
    const loading = options.precision === 'fp16' ? instantiate(single('tract', undefined)) : utilities();
    const [given, glue] = await Promise.all([files(source, undefined, job), loading]);
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

  async compare({ entrants, pictures }, job) {
    job.report('starting', 0, 0);
    const { Comparison } = await module('compare');
    const comparison = new Comparison(JSON.stringify(entrants));
    for (const [index, { name, original, trips }] of pictures.entries()) {
      job.report(`measuring ${name}`, index, pictures.length);
      comparison.picture(name, bytesOf(original), original.width, original.height);
      for (const { image, mean, kl, encodeSeconds, decodeSeconds } of trips) {
        const { data, shape, domain } = mean;
        comparison.trip(bytesOf(image), data, Uint32Array.from(shape), domain, kl, encodeSeconds, decodeSeconds);
      }
    }
    job.report('writing the report', 0, 0);
    const { findings, json, csv, html } = comparison.finish();
    const blob = (text: string, type: string): Blob => new Blob([text], { type });
    const report = { html: blob(html, 'text/html'), json: blob(json, 'application/json'), csv: blob(csv, 'text/csv') };
    return { ...(JSON.parse(findings) as Omit<Reply<'compare'>, 'report'>), report };
  },

  async metrics({ a, b }) {
    return (await utilities()).metrics(bytesOf(a), bytesOf(b), a.width, a.height);
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

  async tryKernels() {
    const { tryKernels } = await instantiate(single('webgpu', undefined));
    return (await tryKernels?.()) ?? '[]';
  },

  async fits({ manifest, width, height, maxBuffer }) {
    return (await utilities()).fits(manifest, width, height, maxBuffer);
  },
};

/** Opens a VAE on the first engine that can. */
async function open(given: Map<string, Blob>, plan: Plan, request: LoadRequest, job: Job): Promise<VaeInfo> {
  const [choice, ...rest] = plan.choices;
  if (!choice) throw new VaekitError('engine', plan.notices.at(-1) ?? 'there is no engine');
  try {
    const glue = await instantiate(choice);
    const options = { ...request.checkpoint, halves: request.halves, by_name: request.engine !== 'auto' };
    const vae = await job.guard(() => glue.Vae.load(given, JSON.stringify(options), job.report));
    const { adapter, notices, engine: name, ...info } = JSON.parse(vae.info()) as Omit<VaeInfo, 'engine'> & Found;
    const found = { engine: name, notices, ...(adapter !== undefined && { adapter }) };
    const engine = describe(choice, found, plan.notices);
    const draws = choice.gpu !== undefined && !choice.gpu.unfit && (await drawsBitmaps().catch(() => false));
    loaded = { glue, vae, choice, engine, rest, passedOver: plan.notices, given, request, draws };
    return { ...info, engine };
  } catch (error) {
    if (!goesOn(choice, rest, error)) throw error;
    return open(given, { choices: rest, notices: [...plan.notices, instead(rest[0]!, choice, error)] }, request, job);
  }
}

/** Runs a VAE; where its engine fails and another may do, that one takes its place, and the page is told. */
async function run<T>(
  job: Job,
  watch: Stopwatch,
  tiles: DecodeRequest['tiles'],
  work: (vae: WasmVae, draws: boolean) => Promise<T>,
): Promise<T & RunReply> {
  if (!loaded) await reopen?.(job);
  if (!loaded) throw new VaekitError('other', 'no VAE is loaded');
  const { glue, vae, choice, engine, rest, passedOver, given, request, draws } = loaded;
  try {
    const done = { ...(await job.guard(() => work(vae, draws))), seconds: watch.seconds, peakBytes: glue.memoryBytes() };
    const change = engine === told ? {} : { engine };
    told = engine;
    return { ...done, ...change } as T & RunReply;
  } catch (error) {
    if (!goesOn(choice, rest, error, tiles)) throw error;
    const plan = { choices: rest, notices: [...passedOver, instead(rest[0]!, choice, error)] };
    free(vae);
    loaded = undefined;
    reopen = (job) => open(given, plan, request, job);
    job.report(`going on with ${NAMES[rest[0]!.engine]}`, 0, 0);
    await reopen(job);
    watch.lap('change of engine');
    return run(job, watch, tiles, work);
  }
}

/** Gives back at once what a VAE holds on the GPU, which waits for no garbage collector. After a trap it may not be able to. */
function free(vae: WasmVae & { free?(): void }): void {
  try {
    vae.free?.();
  } catch {
    // The device's loss or the worker's end give it back.
  }
}

/** Whether the next engine may do what this one could not. */
function goesOn({ engine }: Choice, rest: Choice[], error: unknown, tiles?: DecodeRequest['tiles']): boolean {
  // A panic or a trap, which a driver may have caused, has no kind.
  const { kind = 'trap' } = Object(error) as { kind?: string };
  if (rest.length === 0) return false;
  if (engine !== 'webgpu') return kind === 'unsupported';
  // Another engine is no answer to a picture that shall not be cut.
  return GPUS_FAILURES.has(kind) && !(kind === 'out-of-memory' && tiles === 'never');
}

/** It was lost, fails or is full, or its module did not come. */
const GPUS_FAILURES = new Set(['lost', 'engine', 'out-of-memory', 'unsupported', 'network', 'trap']);

const instead = (next: Choice, choice: Choice, error: unknown): string =>
  `${NAMES[next.engine]} instead of ${NAMES[choice.engine]}: ${(error as { message?: string }).message ?? error}`;

function decodeArray(vae: WasmVae, { data, shape, domain }: Latents, options: string, observe: ReturnType<Job['observe']>) {
  return vae.decode(data, Uint32Array.from(shape), domain, options, observe);
}

const bytesOf = ({ data }: Pick<ImageData, 'data'>): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

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

  /** Ends a stage, whose parts were timed already where there are any. */
  lap(stage: string, parts: Record<string, number> = {}): void {
    const now = performance.now();
    const inParts = Object.values(parts).reduce((sum, seconds) => sum + seconds, 0);
    Object.assign(this.seconds, parts);
    this.seconds[stage] = Math.max(0, (now - this.#last) / 1000 - inParts);
    this.#last = now;
  }
}
