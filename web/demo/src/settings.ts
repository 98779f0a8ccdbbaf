import type { LoadOptions } from 'vaekit';

import { Signal } from './signal';

export interface Settings {
  engine: NonNullable<LoadOptions['engine']>;
  /** 0: as many as the page may use. */
  threads: number;
  longestSide: number;
  /** Address of a Hugging Face style hub. */
  hub: string;
}

const DEFAULTS: Settings = { engine: 'auto', threads: 0, longestSide: 512, hub: 'https://huggingface.co' };
const KEY = 'vaekit-settings';

/** Settings, remembered in this browser. */
export const settings = new Signal<Settings>({ ...DEFAULTS, ...stored() });

settings.watch((value) => {
  try {
    localStorage.setItem(KEY, JSON.stringify(value));
  } catch {
    // Without storage they last for this visit.
  }
});

export function change(part: Partial<Settings>): void {
  settings.value = { ...settings.value, ...part };
}

function stored(): Partial<Settings> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Settings>;
  } catch {
    return {};
  }
}
