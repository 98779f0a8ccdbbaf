import type { View } from '../app';
import { byId } from '../dom';

/** Shows the view that the address names after `#`: back and forward work, and links to a part can be shared. */
export class Router {
  #name = '';

  constructor(readonly views: Record<string, View>) {
    addEventListener('hashchange', () => this.#follow());
    this.#follow();
  }

  get current(): View {
    return this.views[this.#name]!;
  }

  go(name: string): void {
    location.hash = name;
    this.#show(name);
  }

  #follow(): void {
    const name = location.hash.slice(1);
    if (Object.hasOwn(this.views, name)) this.#show(name);
    else if (name === '' || this.#name === '') this.#show('roundtrip');
  }

  #show(name: string): void {
    if (name === this.#name) return;
    this.views[this.#name]?.leave?.();
    this.#name = name;
    for (const other of Object.keys(this.views)) byId(`view-${other}`, HTMLElement).hidden = other !== name;
    for (const link of document.querySelectorAll<HTMLAnchorElement>('nav a')) {
      if (link.hash === `#${name}`) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    this.views[name]?.enter?.();
  }
}
