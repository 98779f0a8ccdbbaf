/** Whether a file is an engine's module: which of them a browser takes is not known before it is used. */
export const isEngineModule = (file: string): boolean => /\.wasm$/.test(file) && !/\bvaekit-compare\b/.test(file);
