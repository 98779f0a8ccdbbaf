/** Where a picture of `image` pixels lies in a pane of `pane` CSS pixels: `scale` CSS pixels for one of the picture's. */
export interface Viewport {
  scale: number;
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

export const MAX_SCALE = 32;

/** The whole picture, centred. */
export function fit(image: Size, pane: Size): Viewport {
  const scale = Math.min(pane.width / image.width, pane.height / image.height);
  return within({ scale, x: 0, y: 0 }, image, pane);
}

/** Zoomed by `factor` around the point (x, y) of the pane; not smaller than the whole picture. */
export function zoomAt(view: Viewport, factor: number, x: number, y: number, image: Size, pane: Size): Viewport {
  const scale = Math.min(MAX_SCALE, Math.max(fit(image, pane).scale, view.scale * factor));
  const ratio = scale / view.scale;
  return within({ scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio }, image, pane);
}

/** As large as `part` of the picture can be shown, in the middle. */
export function around(part: Size & { x: number; y: number }, image: Size, pane: Size): Viewport {
  const scale = Math.min(MAX_SCALE, fit(part, pane).scale);
  const place = (start: number, length: number, room: number): number => room / 2 - (start + length / 2) * scale;
  return within({ scale, x: place(part.x, part.width, pane.width), y: place(part.y, part.height, pane.height) }, image, pane);
}

/** Moved so that the picture covers the pane, or is centred where it is smaller. */
export function within(view: Viewport, image: Size, pane: Size): Viewport {
  const place = (offset: number, length: number, room: number): number =>
    length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, offset));
  return {
    scale: view.scale,
    x: place(view.x, image.width * view.scale, pane.width),
    y: place(view.y, image.height * view.scale, pane.height),
  };
}
