import { PageError } from '../errors';
import type { Work } from '../parts/job';
import type { Bytes } from './model';

const AGAIN = 'Check the connection and try again.';

/** A response's body; its progress and, at the end, its size and hash are checked on the way. */
export interface Download {
  /** From Content-Length; 0 where the server does not say. */
  total: number;
  body: ReadableStream<Bytes>;
}

/**
 * Asks for `url`.
 *
 * @throws PageError with the server's answer in words; the body errors with one if size or sha256 differ
 */
export async function fetchFile(
  url: string,
  name: string,
  { signal, onProgress }: Work,
  expected: { bytes?: number; sha256?: string } = {},
): Promise<Download> {
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw new PageError('The download failed', `${name}: ${new URL(url, location.href).host} cannot be reached (${(error as Error).message})`, AGAIN);
  }
  if (!response.ok || !response.body) throw refused(response, name);
  const total = expected.bytes ?? Number(response.headers.get('content-length') ?? 0);
  const digest = expected.sha256 ? await sha256() : undefined;
  return { total, body: response.body.pipeThrough(checked(name, total, expected, digest, onProgress)) };
}

interface Digest {
  update(bytes: Uint8Array): unknown;
  hex(): string;
}

/** WebCrypto wants all bytes at once, which weights are too large for. */
async function sha256(): Promise<Digest> {
  const [{ sha256 }, { bytesToHex }] = await Promise.all([import('@noble/hashes/sha2.js'), import('@noble/hashes/utils.js')]);
  const hash = sha256.create();
  return { update: (bytes) => hash.update(bytes), hex: () => bytesToHex(hash.digest()) };
}

/** All of a stream, in the browser's keeping; fails as the stream does, which `Response.blob` does not in every browser. */
export async function collect(body: ReadableStream<Bytes>): Promise<Blob> {
  const chunks: Bytes[] = [];
  await body.pipeTo(new WritableStream({ write: (chunk) => void chunks.push(chunk) }));
  return new Blob(chunks);
}

function refused({ status }: Response, name: string): PageError {
  if (status === 401 || status === 403) {
    return new PageError(
      'This model is behind a licence',
      `${name}: the hub answered ${status}; its licence has to be accepted there first`,
      'Accept it on the hub, download the file there, and drop it on this page.',
    );
  }
  if (status === 404) {
    return new PageError('Not found', `${name}: the hub has no such file (404)`, 'It may have moved; look for it on the hub.');
  }
  if (status === 429) {
    return new PageError('Too many downloads', `${name}: the hub asks to wait (429)`, 'Try again in a few minutes.');
  }
  return new PageError('The download failed', `${name}: the server answered ${status}`, AGAIN);
}

function checked(
  name: string,
  total: number,
  expected: { bytes?: number; sha256?: string },
  digest: Digest | undefined,
  onProgress: Work['onProgress'],
): TransformStream<Bytes, Bytes> {
  const started = performance.now();
  let done = 0;
  return new TransformStream({
    transform(chunk, controller) {
      done += chunk.byteLength;
      digest?.update(chunk);
      const left = ((performance.now() - started) / 1000 / done) * (total - done);
      onProgress({ stage: `Fetching ${name}`, done, total, ...(total > done && { left }) });
      controller.enqueue(chunk);
    },
    flush() {
      if (expected.bytes !== undefined && done !== expected.bytes) {
        throw new PageError('The download is broken', `${name} has ${done} bytes, expected ${expected.bytes}`, AGAIN);
      }
      const found = digest?.hex();
      if (found && found !== expected.sha256) {
        throw new PageError(
          'The download is not what it should be',
          `${name} has the sha256 ${found}, expected ${expected.sha256}`,
          'It was not kept. Someone changed the file, on the hub or on the way.',
        );
      }
    },
  });
}
