import { VaekitError } from 'vaekit';

import { PictureError } from './picture';

/** What went wrong, for the person: a heading, the program's own words, and what to do. */
export interface Problem {
  title: string;
  detail: string;
  advice: string;
}

/** A problem that the page itself found, with its advice. */
export class PageError extends Error {
  constructor(
    readonly title: string,
    detail: string,
    readonly advice: string,
  ) {
    super(detail);
  }
}

const KINDS: Record<VaekitError['kind'], [title: string, advice: string]> = {
  'bad-input': ['This file does not fit', 'Check that the download is complete, or try another file.'],
  engine: ['The engine cannot run this', 'Choose the engine “automatic” under Models, Settings.'],
  'out-of-memory': [
    'Not enough memory',
    'Choose a smaller longest side above, or close other pages. A page can use 4 GB at most.',
  ],
  network: ['The download failed', 'Check the connection and try again; what is kept in this browser works offline.'],
  cancelled: ['Cancelled', ''],
  other: ['Something went wrong', 'Try again; if it stays, reload the page. What is kept in this browser is not lost.'],
};

export function explain(error: unknown): Problem {
  if (error instanceof PageError) return { title: error.title, detail: error.message, advice: error.advice };
  if (error instanceof PictureError) {
    return { title: 'No picture', detail: error.message, advice: 'Try another file.' };
  }
  const [title, advice] = KINDS[error instanceof VaekitError ? error.kind : 'other'];
  const detail = error instanceof Error ? error.message : String(error);
  if (lacksScaling(error)) {
    return { title: 'The scaling is not known', detail, advice: 'Choose the family that it belongs to under Models.' };
  }
  if (error instanceof DOMException && UNREADABLE.has(error.name)) {
    return { title: 'The file cannot be read', detail, advice: 'It may have been moved or changed meanwhile; open it again.' };
  }
  return { title, detail, advice };
}

/** Whether a checkpoint does not say how its latents are scaled. */
export const lacksScaling = (error: unknown): boolean => error instanceof VaekitError && error.code === 'unknown-scaling';

/** What browsers call it when a file is gone, is not what it was, or may not be read. */
const UNREADABLE = new Set(['NotFoundError', 'NotReadableError', 'EncodingError']);

/** Whether work ended because somebody wanted it to. */
export const isCancelled = (error: unknown): boolean =>
  (error instanceof VaekitError && error.kind === 'cancelled') ||
  (error instanceof DOMException && error.name === 'AbortError');
