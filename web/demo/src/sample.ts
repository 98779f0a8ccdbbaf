import type { PictureFile } from './picture';

/** The photograph that comes with the page, see build/assets.ts. */
export const SAMPLE: PictureFile = {
  name: 'astronaut.png',
  blob: async () => (await fetch('samples/astronaut.png')).blob(),
};
