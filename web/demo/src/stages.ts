import type { Decoded, Encoded } from 'vaekit';

/** A part of the work that was timed. */
export interface Stage {
  name: string;
  seconds: number;
  /** Of the stage that computes; what the model asks for, so that figures of different engines compare. */
  gflops?: number;
  /** Where it was the most so far. */
  peakBytes?: number;
}

type Run = Pick<Encoded | Decoded, 'seconds' | 'operations' | 'peakBytes'>;

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
