/** A picture as the VAE gets it. */
export interface Picture {
  name: string;
  image: ImageData;
  /** Before it was shrunk. */
  original: { width: number; height: number };
}

/** A picture file that somebody chose. */
export interface PictureFile {
  name: string;
  blob(): Promise<Blob>;
}

/** Longest side that a file may have; browsers refuse canvases not much beyond it. */
const MAX_SIDE = 16_384;

export class PictureError extends Error {}

/**
 * Decodes a picture file and shrinks it so that no side exceeds `longestSide`. Transparent parts become white.
 *
 * @throws PictureError for what the browser cannot read as a picture
 */
export async function readPicture({ name, blob }: PictureFile, longestSide: number): Promise<Picture> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(await blob());
  } catch {
    throw new PictureError(`${name} is not a picture that this browser can read; PNG, JPEG and WebP work everywhere`);
  }
  const { width, height } = bitmap;
  if (Math.max(width, height) > MAX_SIDE) {
    bitmap.close();
    throw new PictureError(`${name} is ${width} by ${height} pixels, at most ${MAX_SIDE} a side can be opened here`);
  }
  const scale = Math.min(1, longestSide / Math.max(width, height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = context2d(canvas);
  context.fillStyle = 'white';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = 'high';
  if (scale < 1) {
    const small = await createImageBitmap(bitmap, {
      resizeWidth: canvas.width,
      resizeHeight: canvas.height,
      resizeQuality: 'high',
    });
    context.drawImage(small, 0, 0);
    small.close();
  } else {
    context.drawImage(bitmap, 0, 0);
  }
  bitmap.close();
  return { name, image: context.getImageData(0, 0, canvas.width, canvas.height), original: { width, height } };
}

/** The 2D context of a canvas whose pixels will be read. */
export function context2d(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new PictureError('this browser gives no canvas to draw on; are too many pages open?');
  return context;
}

/** Shows `image` on `canvas`, pixel for pixel. */
export function draw(canvas: HTMLCanvasElement, image: ImageData): void {
  canvas.width = image.width;
  canvas.height = image.height;
  context2d(canvas).putImageData(image, 0, 0);
}

export async function toPng(image: ImageData): Promise<Blob> {
  const canvas = document.createElement('canvas');
  draw(canvas, image);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new PictureError('the PNG could not be written'))));
  });
}

/** Left and right exchanged. */
export function mirrored(image: ImageData): ImageData {
  const out = new ImageData(image.width, image.height);
  const [from, to] = [new Uint32Array(image.data.buffer), new Uint32Array(out.data.buffer)];
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) to[y * image.width + x] = from[(y + 1) * image.width - 1 - x]!;
  }
  return out;
}

/** `image` scaled to cover width by height, cut evenly at the sides that stand over. */
export async function covering(image: ImageData, width: number, height: number): Promise<ImageData> {
  if (image.width === width && image.height === height) return image;
  const scale = Math.max(width / image.width, height / image.height);
  const bitmap = await createImageBitmap(image);
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = context2d(canvas);
  context.imageSmoothingQuality = 'high';
  const [w, h] = [image.width * scale, image.height * scale];
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** |a - b| of each colour, times `amplify`: black where the pictures agree. They have the same size. */
export function difference(a: ImageData, b: ImageData, amplify: number): ImageData {
  const out = new ImageData(a.width, a.height);
  for (let i = 0; i < out.data.length; i++) {
    out.data[i] = i % 4 === 3 ? 255 : Math.abs(a.data[i]! - b.data[i]!) * amplify;
  }
  return out;
}
