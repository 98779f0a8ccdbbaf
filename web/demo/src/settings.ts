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
export const settings = new Signal<Settings>(stored());

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

function stored(): Settings {
  try {
    const settings: Settings = { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Settings>) };
    // They may be another machine's, whose profile was copied.
    return { ...settings, threads: Math.min(Math.max(0, Math.trunc(settings.threads) || 0), navigator.hardwareConcurrency || 1) };
  } catch {
    return DEFAULTS;
  }
}
