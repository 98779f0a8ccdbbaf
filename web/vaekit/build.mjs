// Makes dist/ of src/ and of the modules and glue that `cargo xtask web build` puts into VAEKIT_GLUE.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const glue = process.env.VAEKIT_GLUE;
if (!glue) throw new Error("run `cargo xtask web build`, which makes the wasm modules first");
const dist = join(here, "dist");
mkdirSync(dist, { recursive: true });

/** `glue:NAME` is wasm-bindgen's glue of a module, or nothing where that was not built. */
const variants = {
  name: "glue",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^glue:/ }, ({ path }) => {
      const name = path.slice("glue:".length);
      const script = join(glue, name, "vaekit.js");
      if (!existsSync(script)) return { path: name, namespace: "missing" };
      copyFileSync(join(glue, name, "vaekit_bg.wasm"), join(dist, `vaekit-${name}.wasm`));
      return { path: script };
    });
    onLoad({ filter: /.*/, namespace: "missing" }, () => ({ contents: "export const missing = true;" }));
  },
};

await build({
  absWorkingDir: here,
  entryPoints: { index: "src/index.ts", worker: "src/worker/main.ts" },
  outdir: "dist",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
  logLevel: "warning",
  plugins: [variants],
});
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
execFileSync(process.execPath, [tsc, "--project", join(here, "tsconfig.json")], { stdio: "inherit" });
