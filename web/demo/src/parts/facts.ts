import { el } from '../dom';
import { count } from '../format';

/** What, how much, and in small what that means. */
export type Fact = [term: string, value: string, note?: string | undefined];

/** Fills a `<dl>`. */
export function showFacts(list: HTMLElement, facts: Fact[]): void {
  list.replaceChildren(
    ...facts.flatMap(([term, value, note]) => [
      el('dt', {}, term),
      el('dd', {}, value, ...(note ? [el('small', {}, note)] : [])),
    ]),
  );
}

/** KL in nats, and for each latent, which compares between sizes. */
export const klFact = (nats: number, latents: number): Fact => [
  'KL',
  `${count(Math.round(nats))} nats`,
  `${(nats / latents).toFixed(2)} for each number`,
];
