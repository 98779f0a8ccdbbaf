import type { Encoded, Latents } from 'vaekit';

import { gaussian } from './noise';

/** What the playground does to latents. */
export interface Recipe {
  /** 0 is all A, 1 all B. */
  blend: number;
  /** Standard normal noise added, in standard deviations of the latents. */
  noise: number;
  /** How far from the posterior's mean a sample is drawn, in its standard deviations; 1 is a true sample. */
  spread: number;
  seed: number;
}

export interface Mixed {
  latents: Latents;
  /** Kullback-Leibler divergence of the blended posterior from the standard normal one, in nats, where there is one. */
  kl?: number;
}

/** Latents between those of `a` and `b`, which have the same shape, sampled and made noisy. */
export function mix(a: Encoded, b: Encoded, { blend, noise, spread, seed }: Recipe): Mixed {
  const { shape, domain } = a.latents;
  const mean = lerp(a.latents.data, b.latents.data, blend);
  const std = a.posterior && b.posterior && lerp(a.posterior.std, b.posterior.std, blend);
  const data = mean.slice();
  if (std && spread > 0) gaussian(data.length, seed).forEach((e, i) => (data[i]! += spread * std[i]! * e));
  if (noise > 0) {
    const amount = noise * deviation(mean);
    gaussian(data.length, seed + 1).forEach((e, i) => (data[i]! += amount * e));
  }
  return { latents: { data, shape, domain }, ...(std && { kl: klDivergence(mean, std) }) };
}

function lerp(a: Float32Array, b: Float32Array, t: number): Float32Array {
  return a.map((value, i) => value + (b[i]! - value) * t);
}

function deviation(values: Float32Array): number {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
}

/** As `DiagonalGaussianDistribution.kl` of CompVis and diffusers, summed over all latents. */
function klDivergence(mean: Float32Array, std: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < mean.length; i++) {
    const [m, variance] = [mean[i]!, std[i]! ** 2];
    sum += 0.5 * (m * m + variance - 1 - Math.log(variance));
  }
  return sum;
}
