import { VaekitError } from '../errors.js';
import type { SentImage } from '../messages.js';

/** A picture's pixels: RGBA, row by row. */
export async function pixels(image: SentImage): Promise<ImageData> {
  if (image instanceof ImageData) return image;
  const bitmap = image instanceof Blob ? await decode(image) : image;
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  if (!context) throw new VaekitError('out-of-memory', `there is no memory for a picture of ${width} by ${height} pixels`);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

async function decode(file: Blob): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(file, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
  } catch {
    const name = file instanceof File ? file.name : 'the file';
    throw new VaekitError('bad-input', `${name} is no picture that this browser can read`);
  }
}
