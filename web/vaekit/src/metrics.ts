import { helper } from './connection.js';
import { VaekitError } from './errors.js';

/**
 * How alike two pictures of one size are: PSNR in dB (infinite where they are equal) and SSIM (NaN where a side is below 11
 * pixels), as scikit-image defines them.
 *
 * @throws VaekitError
 */
export async function metrics(a: ImageData, b: ImageData): Promise<{ psnr: number; ssim: number }> {
  if (a.width !== b.width || a.height !== b.height) {
    const [first, second] = [a, b].map(({ width, height }) => `${width} by ${height}`);
    throw new VaekitError('bad-input', `the pictures are ${first} and ${second}, expected one size`);
  }
  return helper().call('metrics', { a, b });
}
