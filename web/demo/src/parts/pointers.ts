export interface Gestures {
  /** One pointer moved by (dx, dy); `start` is what it went down on. */
  drag(event: PointerEvent, dx: number, dy: number, start: EventTarget | null): void;
  /** Two fingers moved apart by `factor` around a point of the window. */
  pinch(factor: number, clientX: number, clientY: number): void;
}

/** Reads drags (mouse, pen, one finger) and pinches on `element`. */
export function followPointers(element: HTMLElement, { drag, pinch }: Gestures): void {
  const down = new Map<number, PointerEvent>();
  let start: EventTarget | null = null;

  element.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    start = event.target;
    down.set(event.pointerId, event);
    element.setPointerCapture(event.pointerId);
    if (down.size === 1) drag(event, 0, 0, start);
  });
  element.addEventListener('pointermove', (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    const other = [...down.values()].find((pointer) => pointer.pointerId !== event.pointerId);
    if (other) {
      pinch(
        distance(event, other) / Math.max(1, distance(before, other)),
        (event.clientX + other.clientX) / 2,
        (event.clientY + other.clientY) / 2,
      );
    } else {
      drag(event, event.clientX - before.clientX, event.clientY - before.clientY, start);
    }
    down.set(event.pointerId, event);
  });
  for (const end of ['pointerup', 'pointercancel'] as const) {
    element.addEventListener(end, (event) => down.delete(event.pointerId));
  }
}

const distance = (a: PointerEvent, b: PointerEvent): number => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
