/** Blue below zero, near white at zero, red above: readable with the common colour-vision deficiencies too. */
const STOPS = [
  [10, 47, 94],
  [62, 134, 190],
  [246, 245, 241],
  [217, 118, 76],
  [117, 24, 16],
] as const;

const STEPS = 255;

/** RGB triples for -1 to 1 in `STEPS` steps. */
const table = Uint8ClampedArray.from({ length: 3 * STEPS }, (_, i) => {
  const at = (Math.floor(i / 3) / (STEPS - 1)) * (STOPS.length - 1);
  const low = Math.min(Math.floor(at), STOPS.length - 2);
  const [from, to] = [STOPS[low]![i % 3]!, STOPS[low + 1]![i % 3]!];
  return from + (to - from) * (at - low);
});

/** Paints `values` into RGBA `pixels`; -limit and limit are the ends of the map, values beyond saturate. */
export function paint(values: Float32Array, limit: number, pixels: Uint8ClampedArray): void {
  for (let i = 0; i < values.length; i++) {
    const t = Math.min(1, Math.max(-1, values[i]! / limit));
    const at = 3 * Math.round(((t + 1) / 2) * (STEPS - 1));
    pixels[4 * i] = table[at]!;
    pixels[4 * i + 1] = table[at + 1]!;
    pixels[4 * i + 2] = table[at + 2]!;
    pixels[4 * i + 3] = 255;
  }
}

/** The map as a CSS gradient, for the legend. */
export const gradient = `linear-gradient(to right, ${STOPS.map((rgb) => `rgb(${rgb.join(' ')})`).join(', ')})`;
