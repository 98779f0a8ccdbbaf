// Cargo's runner for tests that are built for wasm32-wasip1: `node wasi.mjs TEST.wasm ARGUMENTS...`.
// The module sees the machine's files under their own paths, as a native test does.
import { readFile } from "node:fs/promises";
import { argv, cwd, env, exit } from "node:process";
import { setFlagsFromString } from "node:v8";
import { WASI } from "node:wasi";

// Node 20 knows relaxed SIMD by this name only; later ones have it on.
setFlagsFromString("--experimental-wasm-relaxed-simd");
// Optimised code calls Node's WASI directly, which may collect garbage in there and end in SIGSEGV
// (nodejs/node#46777, open).
setFlagsFromString("--no-turbo-fast-api-calls");

const [path, ...args] = argv.slice(2);
const wasi = new WASI({
  version: "preview1",
  args: [path, ...args],
  env: { ...env, PWD: cwd() },
  preopens: { "/": "/" },
});
const module = await WebAssembly.compile(await readFile(path));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
exit(wasi.start(instance));
