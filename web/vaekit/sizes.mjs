// Prints name, size and size after brotli of everything in dist/ that a page may fetch, as JSON.
import { readdirSync, readFileSync } from "node:fs";
import { brotliCompressSync } from "node:zlib";

const dist = new URL("./dist/", import.meta.url);
const fetched = readdirSync(dist).filter((name) => /\.(js|wasm)$/.test(name));
const sizes = fetched.sort().map((name) => {
  const bytes = readFileSync(new URL(name, dist));
  return [name, bytes.length, brotliCompressSync(bytes).length];
});
console.log(JSON.stringify(sizes));
