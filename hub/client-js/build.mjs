// Builds the library into the folder that is named (default dist): modules with their types, one minified module
// for browsers, and the chat page's script.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? "dist");
rmSync(out, { recursive: true, force: true });
const tsc = resolve(here, "node_modules/typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "--project", resolve(here, "tsconfig.json"), "--outDir", out], { stdio: "inherit" });

const shared = { absWorkingDir: here, bundle: true, format: "esm", target: "es2022", charset: "utf8", legalComments: "none" };
const banner = { js: "/* wsc client 0.1.0, Apache-2.0 */" };
await build({ ...shared, entryPoints: ["src/index.ts"], minify: true, banner, outfile: `${out}/wsc-client.min.js` });
// It finds the library beside it, where the hub serves both.
const library = { name: "library", setup: ({ onResolve }) =>
  onResolve({ filter: /^\.\.\/src\/index\.js$/ }, () => ({ path: "./wsc-client.min.js", external: true })) };
await build({ ...shared, entryPoints: ["page/chat.ts"], plugins: [library], outfile: `${out}/page/chat.js` });
