import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { Hub } from "../harness/hub.js";

const FOLDER = fileURLToPath(new URL("../../../", import.meta.url));

function run(folder: string, program: string, ...args: string[]): string {
  try {
    return execFileSync(program, args, { cwd: folder, encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${program} ${args.join(" ")}\n${stdout}\n${stderr}`);
  }
}

/** A project of somebody else that installs the packed library. */
function scratchProject(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "wsc-scratch-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "scratch", private: true, type: "module" }));
  run(FOLDER, "npm", "pack", "--silent", "--pack-destination", folder);
  const [tarball] = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
  const quiet = ["--offline", "--no-audit", "--no-fund", "--silent"];
  run(folder, "npm", "install", ...quiet, `./${tarball}`, join(FOLDER, "node_modules/ws"));
  return folder;
}

/** The code blocks of the README in one language. */
function examples(language: string): string[] {
  const readme = readFileSync(join(FOLDER, "README.md"), "utf8");
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))].map(([, code]) => code!);
}

test("packed and installed it holds its build and nothing else, and needs no other package", (t) => {
  const folder = scratchProject(t);
  const installed = join(folder, "node_modules/@wsc-hub/client");
  assert.deepEqual(readdirSync(installed).sort(), ["LICENSE", "README.md", "dist", "package.json"]);
  const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as Record<string, unknown>;
  assert.deepEqual([manifest.dependencies, manifest.version], [undefined, "0.1.0"]);
  const names = run(folder, "node", "-e", "import('@wsc-hub/client').then((m) => console.log(Object.keys(m).sort().join()))");
  assert.equal(names.trim(), "WscClient,WscError");
});

test("every example of the README has the right types, in a project with no types of Node and strict settings", (t) => {
  const folder = scratchProject(t);
  const found = examples("ts");
  assert.ok(found.length >= 5, String(found.length));
  found.forEach((code, number) => writeFileSync(join(folder, `example-${number}.ts`), `${code}\nexport {};\n`));
  const tsc = join(FOLDER, "node_modules/typescript/bin/tsc");
  const strict = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--types", ""];
  const files = readdirSync(folder).filter((name) => name.endsWith(".ts"));
  for (const module of ["nodenext", "esnext"]) {
    const resolution = module === "esnext" ? "bundler" : "nodenext";
    run(folder, "node", tsc, ...strict, "--module", module, "--moduleResolution", resolution, ...files);
  }
  // The library itself needs no types of a platform.
  writeFileSync(join(folder, "bare.ts"), `import { WscClient } from "@wsc-hub/client";\nnew WscClient({ url: "ws://hub/ws" });\n`);
  const bare = ["--noEmit", "--strict", "--types", "", "--lib", "es2022", "--module", "nodenext", "bare.ts"];
  run(folder, "node", tsc, ...bare);
});

test("the README's program for Node talks to a real hub as it stands", async (t) => {
  const folder = scratchProject(t);
  const hub = await Hub.start(t);
  const [program] = examples("js").filter((code) => code.includes('from "ws"'));
  assert.ok(program, "the README has no program for Node");
  writeFileSync(join(folder, "chat.js"), program.replaceAll("ws://127.0.0.1:8080/ws", hub.url));
  const output = run(folder, "node", "chat.js");
  assert.match(output, /bob got: hi from alice/);
  assert.match(output, /delivered/);
});
