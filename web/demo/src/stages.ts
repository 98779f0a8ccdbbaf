import type { Decoded, Encoded, Tiles } from 'vaekit';

import type { Fact } from './parts/facts';

/** A part of the work that was timed. */
export interface Stage {
  name: string;
  seconds: number;
  /** Of the stage that computes; what the model asks for, so that figures of different engines compare. */
  gflops?: number;
  /** Where it was the most so far. */
  peakBytes?: number;
}

type Run = Pick<Encoded | Decoded, 'seconds' | 'operations' | 'peakBytes' | 'tiles'>;

/** The stages of an encode or a decode. */
export function stagesOf(name: 'encode' | 'decode', { seconds, operations, peakBytes }: Run): Stage[] {
  const title = name[0]!.toUpperCase() + name.slice(1);
  const computing = 'compute' in seconds ? 'compute' : name;
  return Object.entries(seconds).map(([stage, time]) => ({
    name: `${title}: ${stage}`,
    seconds: time,
    ...(stage === computing && { gflops: operations / time / 1e9, peakBytes }),
  }));
}

/** That a picture went in tiles, which nobody asked for, if it did. */
export function tilesFact(...runs: Run[]): Fact[] {
  const tiles: Tiles | undefined = runs.flatMap((run) => run.tiles ?? [])[0];
  if (!tiles) return [];
  const reason = 'one piece does not fit into memory; each tile runs several times, to be normalised as the whole';
  return [['Tiles', `${tiles.columns} × ${tiles.rows}`, reason]];
}
