import { PageError } from '../errors';
import { bytes } from '../format';
import type { Work } from '../parts/job';
import { basename, type Bytes, type Files, type Hashes, type Model } from './model';

/** What stands in a kept model's `model.json`, written last: a folder without it is the rest of an interrupted copy. */
interface Kept {
  name: string;
  origin: string;
  config?: object;
  scaling?: string;
  hashes?: Hashes;
  paths: string[];
}

const CARD = 'model.json';

/** Whether this browser has storage for models: a private window may not, and Safari before 26 cannot write to it. */
export const canKeep = (): boolean =>
  typeof navigator.storage?.getDirectory === 'function' && 'createWritable' in FileSystemFileHandle.prototype;

async function root(): Promise<FileSystemDirectoryHandle> {
  const top = await navigator.storage.getDirectory();
  return top.getDirectoryHandle('models', { create: true });
}

/** All kept models; leftovers of interrupted copies are removed on the way. */
export async function keptModels(): Promise<Model[]> {
  if (!canKeep()) return [];
  const models: Model[] = [];
  let folder: FileSystemDirectoryHandle;
  try {
    folder = await root();
  } catch {
    return [];
  }
  for await (const [id, handle] of folder.entries()) {
    const model = handle.kind === 'directory' ? await open(id, handle as FileSystemDirectoryHandle) : undefined;
    if (model) models.push(model);
    else await folder.removeEntry(id, { recursive: true }).catch(() => undefined);
  }
  return models.sort((a, b) => a.name.localeCompare(b.name));
}

async function open(id: string, folder: FileSystemDirectoryHandle): Promise<Model | undefined> {
  try {
    const card = JSON.parse(await (await (await folder.getFileHandle(CARD)).getFile()).text()) as Kept;
    const files: Files = new Map();
    for (const [index, path] of card.paths.entries()) {
      const stored = await (await folder.getFileHandle(String(index))).getFile();
      // A File over the stored one: it has the name that the engine shows, and copies nothing.
      files.set(path, new File([stored], basename(path)));
    }
    const total = [...files.values()].reduce((sum, file) => sum + file.size, 0);
    return { id, ...facts(card), bytes: total, kept: true, files: async () => files };
  } catch {
    return undefined;
  }
}

/** What is neither the place nor the files. */
const facts = ({ name, origin, config, scaling, hashes }: Omit<Kept, 'paths'>): Omit<Kept, 'paths'> => ({
  name,
  origin,
  ...(config && { config }),
  ...(scaling && { scaling }),
  ...(hashes && { hashes }),
});

/**
 * Writes `files` as the model `id`, one after another.
 *
 * @throws PageError where the browser has no room; nothing is left then
 */
export async function keep(
  model: Omit<Model, 'files' | 'kept'>,
  files: Map<string, ReadableStream<Bytes>>,
  { signal }: Pick<Work, 'signal'>,
): Promise<Model> {
  await makeRoom(model.bytes);
  const models = await root();
  const folder = await models.getDirectoryHandle(model.id, { create: true });
  try {
    for (const [index, stream] of [...files.values()].entries()) {
      const handle = await folder.getFileHandle(String(index), { create: true });
      await stream.pipeTo(await handle.createWritable(), { signal });
    }
    // Hashes are known at the end of the streams.
    await writeCard(folder, { ...facts(model), paths: [...files.keys()] });
  } catch (error) {
    await models.removeEntry(model.id, { recursive: true }).catch(() => undefined);
    if (error instanceof DOMException && error.name === 'QuotaExceededError') throw noRoom(model.bytes);
    throw error;
  }
  const kept = await open(model.id, folder);
  if (!kept) throw new PageError('Not kept', `${model.name} could not be read back from storage`, 'Try again.');
  return kept;
}

/** Changes what a kept model's card says of its scaling. */
export async function keepScaling(id: string, scaling: string | undefined): Promise<void> {
  const folder = await (await root()).getDirectoryHandle(id);
  const card = JSON.parse(await (await (await folder.getFileHandle(CARD)).getFile()).text()) as Kept;
  const { scaling: _, ...rest } = card;
  await writeCard(folder, { ...rest, ...(scaling && { scaling }) });
}

export async function removeKept(id: string): Promise<void> {
  await (await root()).removeEntry(id, { recursive: true });
}

async function writeCard(folder: FileSystemDirectoryHandle, card: Kept): Promise<void> {
  const writable = await (await folder.getFileHandle(CARD, { create: true })).createWritable();
  await writable.write(JSON.stringify(card));
  await writable.close();
}

async function makeRoom(needed: number): Promise<void> {
  const { quota = Infinity, usage = 0 } = await navigator.storage.estimate();
  if (quota - usage < needed) throw noRoom(needed);
  // Asked for, not waited for: some browsers ask the person. Without it models may be cleared when the disk is full.
  void navigator.storage.persist?.().catch(() => false);
}

const noRoom = (needed: number): PageError =>
  new PageError('No room', `this browser has no room for ${bytes(needed)}`, 'Delete models under Models, or free disk space.');
