import { PageError } from '../errors';
import { bytes } from '../format';
import type { Work } from '../parts/job';
import { type Digest, sha256 } from './digest';
import type { Bytes } from './model';

const AGAIN = 'Check the connection and try again.';

/** A response's body; its progress and, at the end, its size and hash are checked on the way. */
export interface Download {
  /** From Content-Length; 0 where the server does not say. */
  total: number;
  body: ReadableStream<Bytes>;
}

/** What is known of a file beforehand. */
export interface Expected {
  bytes?: number;
  sha256?: string;
}

/**
 * Asks for `url`. `tell` hears the file's sha256 at its end.
 *
 * @throws PageError with the server's answer in words; the body errors with one if it breaks off, or size or sha256 differ
 */
export async function fetchFile(
  url: string,
  name: string,
  work: Work,
  expected: Expected = {},
  tell?: (sha256: string) => void,
): Promise<Download> {
  const { signal } = work;
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw new PageError('The download failed', `${name}: ${new URL(url, location.href).host} cannot be reached (${(error as Error).message})`, AGAIN);
  }
  if (!response.ok || !response.body) throw refused(response, name);
  // Servers compress text, and then say how long it is on the way.
  const announced = url.endsWith('.json') ? 0 : Number(response.headers.get('content-length') ?? 0);
  const total = expected.bytes ?? announced;
  const digest = expected.sha256 || tell ? await sha256() : undefined;
  const body = unbroken(response.body, { url, name, total: announced || total, signal });
  return { total, body: body.pipeThrough(checked(name, total, expected, digest, tell, work.onProgress)) };
}

/** Seconds to wait before asking for the rest of a file, each time that nothing of it came. */
const WAITS = [0, 1, 4];

/** A body that goes on where the connection was lost, if the server sends parts of files. */
function unbroken(
  first: ReadableStream<Bytes>,
  { url, name, total, signal }: { url: string; name: string; total: number; signal: AbortSignal },
): ReadableStream<Bytes> {
  let reader = first.getReader();
  let done = 0;
  let tries = 0;
  const goOn = async (): Promise<void> => {
    while (done < total && tries < WAITS.length) {
      await pause(WAITS[tries++]!, signal);
      const rest = await fetch(url, { signal, headers: { range: `bytes=${done}-` } }).catch(() => undefined);
      signal.throwIfAborted();
      if (!rest) continue;
      // Anything else would be another file, or all of it again.
      const isRest = rest.status === 206 && Number(rest.headers.get('content-length') ?? total - done) === total - done;
      if (!isRest || !rest.body) break;
      reader = rest.body.getReader();
      return;
    }
    const part = total > 0 ? `${bytes(done)} of ${bytes(total)}` : bytes(done);
    throw new PageError('The download broke off', `${name}: the connection was lost after ${part}`, AGAIN);
  };
  return new ReadableStream({
    async pull(controller) {
      for (;;) {
        const read = await reader.read().catch(() => undefined);
        signal.throwIfAborted();
        if (read?.value) {
          done += read.value.byteLength;
          tries = 0;
          return controller.enqueue(read.value);
        }
        // Not every browser calls it an error when less comes than was announced.
        if (read && done >= total) return controller.close();
        await goOn();
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
}

const pause = (seconds: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
    signal.addEventListener('abort', () => resolve(), { once: true });
  });

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
  expected: Expected,
  digest: Digest | undefined,
  tell: ((sha256: string) => void) | undefined,
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
      if (found && expected.sha256 && found !== expected.sha256) {
        throw new PageError(
          'The download is not what it should be',
          `${name} has the sha256 ${found}, expected ${expected.sha256}`,
          'It was not kept. Someone changed the file, on the hub or on the way.',
        );
      }
      if (found) tell?.(found);
    },
  });
}
