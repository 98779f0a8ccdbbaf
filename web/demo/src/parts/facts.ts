import { el } from '../dom';

/** Fills a `<dl>`: what, how much, and in small what that means. */
export function showFacts(list: HTMLElement, facts: [term: string, value: string, note?: string | undefined][]): void {
  list.replaceChildren(
    ...facts.flatMap(([term, value, note]) => [
      el('dt', {}, term),
      el('dd', {}, value, ...(note ? [el('small', {}, note)] : [])),
    ]),
  );
}
