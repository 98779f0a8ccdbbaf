const CONTROLS = 'a[href], button, input, select';

/** A control as screen readers call it, where this page makes controls anew. */
const nameOf = (control: Element): string =>
  control.getAttribute('aria-label') || (control.closest('label') ?? control).textContent.trim();

/** Focuses `before`, or after its list was made anew the control of the same name, else `otherwise`. */
export function refocus(before: Element | undefined, otherwise: HTMLElement): void {
  const name = before && nameOf(before);
  const now = before?.isConnected ? before : [...document.querySelectorAll(CONTROLS)].find((control) => name && nameOf(control) === name);
  if (now instanceof HTMLElement) now.focus();
  // What is disabled or hidden takes no focus.
  if (document.activeElement !== now) otherwise.focus();
}

/** Gives `list` new children, and the focus, if one of the old ones had it, to its likeness or to `heading`. */
export function rebuild(list: HTMLElement, children: Node[], heading: HTMLElement): void {
  const before = list.contains(document.activeElement) ? document.activeElement : null;
  list.replaceChildren(...children);
  if (before) refocus(before, heading);
}
