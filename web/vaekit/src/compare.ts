import { Connection } from './connection.js';
import { VaekitError } from './errors.js';
import type { Entrant, SentPicture } from './messages.js';
import type { Decoded, Encoded, Options, VaeInfo } from './types.js';

/** A picture's way through one VAE and back. */
export interface Trip {
  /** The VAE's `info`, once it has run. */
  vae: VaeInfo;
  encoded: Encoded;
  /** Of the latents of `encoded`, with its `imageSize` as `cropTo`. */
  decoded: Decoded;
}

/** A picture, and what became of it in each VAE, in the same order for all pictures. */
export interface ComparedPicture {
  name: string;
  original: ImageData;
  trips: Trip[];
}

/** Something wrong with one or two VAEs. */
export interface Warning {
  kind: 'same_weights_differ' | 'same_weights_other_scaling' | 'scaling';
  variants: string[];
  text: string;
}

/** What the numbers say, in plain words. */
export interface Verdict {
  /** The beginning of `text`: who comes closest, if anybody. */
  headline: string;
  /** One paragraph. */
  text: string;
  /** The VAE that leads all others by more than noise; with fewer than three pictures there is none. */
  winner: string | null;
  /** How noise was told from differences. */
  noise: string;
  /** Such as a scaling that is another VAE's, the most certain first. */
  warnings: Warning[];
}

export interface Cell {
  text: string;
  value: number | null;
  /** Ahead of all others by more than noise. */
  best: boolean;
}

/** The means over all pictures: a row for each VAE, a cell for each column. */
export interface Summary {
  columns: { name: string; about: string }[];
  rows: Cell[][];
}

/** Where to look in a picture, in pixels. */
export interface Region {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Comparison {
  /** What the VAEs are called in it: their names, numbered where two are the same. */
  labels: string[];
  verdict: Verdict;
  summary: Summary;
  /** `disagreement`: where the VAEs differ most; `error`: they are alike, and here they differ most from the original. */
  pictures: { name: string; regionsFor: 'disagreement' | 'error'; regions: Region[] }[];
  /** As `vaekit compare` writes it: a page to look at, which loads nothing, and the numbers. */
  report: { html: Blob; json: Blob; csv: Blob };
}

/**
 * Says which VAE comes closest to the originals, by the measures and the rules of `vaekit compare`: SSIMULACRA2, MS-SSIM, PSNR,
 * colour error, saturation, detail kept, and the latents' deviation, which shows a scaling that is another VAE's.
 *
 * @throws VaekitError
 */
export async function compare(pictures: ComparedPicture[], options: Options = {}): Promise<Comparison> {
  const vaes = pictures[0]?.trips.map(({ vae }) => vae) ?? [];
  if (vaes.length === 0) throw new VaekitError('bad-input', 'there is nothing to compare; hand over pictures with their trips');
  for (const { name, trips } of pictures) {
    const same = trips.length === vaes.length && trips.every(({ vae }, index) => vae.name === vaes[index]!.name);
    if (!same) {
      const [found, expected] = [trips.map(({ vae }) => vae), vaes].map((infos) => infos.map((info) => info.name).join(', '));
      throw new VaekitError('bad-input', `${name} went through ${found}, expected ${expected} as the first picture`);
    }
  }
  // A worker for this alone: its end stops the work at once and frees its memory.
  const connection = new Connection();
  try {
    const request = { entrants: vaes.map((_, index) => entrant(pictures.map(({ trips }) => trips[index]!))), pictures: pictures.map(send) };
    return await connection.call('compare', request, options);
  } finally {
    connection.end(new VaekitError('other', 'the comparison is over'));
  }
}

/** A VAE that took part, by all of its trips. */
function entrant(trips: Trip[]): Entrant {
  const { name, family, engine, modelBytes, precision, scalingSource, id } = trips.at(-1)!.vae;
  const tiles = trips.map(({ encoded, decoded }) => encoded.tiles ?? decoded.tiles).find((tiles) => tiles !== undefined);
  return {
    name,
    family,
    engine: engine.detail,
    modelBytes,
    peakBytes: Math.max(...trips.map(({ encoded, decoded }) => Math.max(encoded.peakBytes, decoded.peakBytes))),
    ...(precision && { precision }),
    ...(scalingSource && { scalingSource }),
    ...(tiles && { tiles: `${tiles.width} by ${tiles.height} latents` }),
    id,
  };
}

function send({ name, original, trips }: ComparedPicture): SentPicture {
  return {
    name,
    original,
    trips: trips.map(({ encoded, decoded }) => ({
      image: decoded.image,
      mean: encoded.posterior?.mean ?? encoded.latents,
      ...(encoded.posterior && { kl: encoded.posterior.kl }),
      encodeSeconds: total(encoded.seconds),
      decodeSeconds: total(decoded.seconds),
    })),
  };
}

const total = (stages: Record<string, number>): number => Object.values(stages).reduce((sum, seconds) => sum + seconds, 0);
