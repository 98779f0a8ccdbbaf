import { PageError } from './errors';
import { stem } from './format';
import { fingerprint } from './models/digest';
import { basename, isModelFolder, type Model, modelId } from './models/model';
import type { Given } from './parts/drop';
import type { PictureFile } from './picture';

/** What somebody gave the page. */
export type Recognised =
  | { kind: 'picture'; file: PictureFile }
  | { kind: 'pictures'; files: PictureFile[] }
  | { kind: 'latents'; file: File }
  | { kind: 'model'; model: Model };

const PICTURE = /\.(png|jpe?g|webp|gif|bmp|avif|svg)$/i;
const LATENTS = /\.(latent|npy|npz)$/i;
const WEIGHTS = /\.(safetensors|ckpt|pt|pth|bin|onnx)$/i;

/**
 * Tells pictures, latents and models apart by name, and .safetensors by the names of their tensors.
 *
 * @throws PageError if there is nothing that the page knows
 */
export async function recognise(given: Given): Promise<Recognised> {
  const [path, file] = [...given][0]!;
  if (given.size === 1) {
    if (isPicture(path, file)) return { kind: 'picture', file: picture(file) };
    if (LATENTS.test(path) || (await holdsLatents(file))) return { kind: 'latents', file };
  }
  const weights = new Map([...given].filter(([path]) => WEIGHTS.test(path)));
  if (isModelFolder(given.keys()) && !(given.size === 1 && path.endsWith('vaekit.json'))) {
    return { kind: 'model', model: await fromFiles(given, folderName(path)) };
  }
  if (weights.size === 0) {
    const known = [...given].filter(([path, file]) => isPicture(path, file) || LATENTS.test(path));
    const pictures = known.filter(([path, file]) => isPicture(path, file)).map(([, file]) => picture(file));
    if (pictures.length === known.length && pictures.length > 1) return { kind: 'pictures', files: pictures };
    if (known.length > 1) {
      throw new PageError('One at a time', `${known.length} files were given: ${names(known.map(([path]) => path))}`, 'Open one of them.');
    }
    throw new PageError(
      'Nothing to open here',
      `${file.name} is no picture, no latents and no VAE`,
      'Pictures (PNG, JPEG, WebP), latents (.safetensors, .latent, .npy, .npz), checkpoints (.safetensors, .ckpt, .pt, .pth), model.onnx and model folders can be opened.',
    );
  }
  const first = [...weights.keys()][0]!;
  const name = given.size > 1 && first.includes('/') ? folderName(first) : stem(basename(first));
  return { kind: 'model', model: await fromFiles(weights, name, await configBeside(given)) };
}

const isPicture = (path: string, file: File): boolean => file.type.startsWith('image/') || PICTURE.test(path);

/** The first few. */
const names = (paths: string[]): string => (paths.length > 3 ? `${paths.slice(0, 3).join(', ')} …` : paths.join(', '));

export const picture = (file: File): PictureFile => ({ name: file.name, blob: async () => file });

async function fromFiles(files: Given, name: string, config?: object): Promise<Model> {
  const bytes = [...files.values()].reduce((sum, file) => sum + file.size, 0);
  return {
    id: modelId(name, bytes, await fingerprint(files)),
    name,
    origin: 'a file of yours',
    bytes,
    ...(config && { config }),
    kept: false,
    files: async () => new Map(files),
  };
}

const folderName = (path: string): string => (path.includes('/') ? path.slice(0, path.indexOf('/')) : stem(path));

/** A diffusers folder's config.json. */
async function configBeside(given: Given): Promise<object | undefined> {
  const entry = [...given].find(([path]) => basename(path) === 'config.json');
  if (!entry) return undefined;
  try {
    return JSON.parse(await entry[1].text()) as object;
  } catch (error) {
    throw new PageError('This folder is damaged', `${entry[0]} is no JSON: ${(error as Error).message}`, 'Download it again.');
  }
}

/** Longest header of a .safetensors that is looked at; one of latents is far shorter. */
const MAX_HEADER = 1_000_000;

/** Whether a .safetensors holds latents: few tensors, none of them a network's. What is damaged counts as a model. */
async function holdsLatents(file: File): Promise<boolean> {
  if (!/\.safetensors$/i.test(file.name) || file.size < 10) return false;
  const length = new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true);
  if (length > MAX_HEADER) return false;
  try {
    const header = JSON.parse(await file.slice(8, 8 + Number(length)).text()) as Record<string, unknown>;
    const names = Object.keys(header).filter((name) => name !== '__metadata__');
    return names.length <= 4 && !names.some((name) => /\.(weight|bias)$/.test(name));
  } catch {
    return false;
  }
}
