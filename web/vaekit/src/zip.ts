import { VaekitError } from './errors.js';
import type { Entry } from './messages.js';

/** Everything is of the same moment, so that equal folders give equal files: the first that a zip can name, 1980-01-01. */
const DATE = 0x0021;
/** UTF-8 names. */
const FLAGS = 0x0800;
const VERSION = 20;

/** A zip file of entries that are stored as they are (PKWARE's APPNOTE, 4.3). */
export function zip(entries: Entry[]): Blob {
  const parts: BlobPart[] = [];
  const directory: BlobPart[] = [];
  let offset = 0;
  let directorySize = 0;
  for (const [path, content, crc32] of entries) {
    const name = new TextEncoder().encode(path);
    const common = [VERSION, FLAGS, 0, 0, DATE] as const;
    const sizes = [crc32, content.size, content.size] as const;
    const local = record(0x04034b50, common, sizes, [name.length, 0], []);
    const central = record(0x02014b50, [VERSION, ...common], sizes, [name.length, 0, 0, 0, 0], [0, offset]);
    parts.push(local, name, content);
    directory.push(central, name);
    offset += local.byteLength + name.length + content.size;
    directorySize += central.byteLength + name.length;
  }
  if (offset + directorySize >= 2 ** 32) {
    throw new VaekitError('other', `the folder takes ${offset} bytes, and a plain zip holds 4 GiB; save its files one by one`);
  }
  const n = entries.length;
  const end = record(0x06054b50, [0, 0, n, n], [directorySize, offset], [0], []);
  return new Blob([...parts, ...directory, end], { type: 'application/zip' });
}

/** A signature, then numbers of 16, 32, 16 and 32 bits, little-endian. */
function record(
  signature: number,
  first16: readonly number[],
  first32: readonly number[],
  then16: readonly number[],
  then32: readonly number[],
): ArrayBuffer {
  const numbers: [bytes: number, value: number][] = [
    [4, signature],
    ...first16.map((value): [number, number] => [2, value]),
    ...first32.map((value): [number, number] => [4, value]),
    ...then16.map((value): [number, number] => [2, value]),
    ...then32.map((value): [number, number] => [4, value]),
  ];
  const view = new DataView(new ArrayBuffer(numbers.reduce((size, [bytes]) => size + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of numbers) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return view.buffer;
}
