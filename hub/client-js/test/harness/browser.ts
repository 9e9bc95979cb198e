import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { TestContext } from "node:test";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

const FOLDER = new URL("../../../", import.meta.url);

/** A page with the library's browser build, and nothing else. */
const PAGE = `<!doctype html><meta charset="utf-8"><title>test</title><script type="module">
import { WscClient } from "./wsc-client.min.js";
window.start = (options, token) => {
  const told = { states: [], messages: [], notices: [] };
  const client = new WscClient({ ...options, ...(token && { getToken: () => window.token() }) });
  client.on("state", ({ error, ...change }) => told.states.push({ ...change, error: error?.code }));
  client.on("message", (message) => told.messages.push(message));
  for (const name of ["going_away", "kick_out", "replaced", "resume_gap"]) {
    client.on(name, (event) => told.notices.push([name, event.data ?? null]));
  }
  Object.assign(window, { client, told });
  return client.connect();
};
document.title = "ready";
</script>`;

/** Chromium for a test file; CHROMIUM names another than that on PATH. */
export async function launch(): Promise<Browser> {
  const root = process.getuid?.() === 0;
  // Its sandbox does not run as root.
  const args = root ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args, chromiumSandbox: !root });
}

/** Serves the test page with the built bundle. Gives its origin. */
export async function servePage(test: TestContext): Promise<string> {
  const bundle = readFileSync(new URL("dist/wsc-client.min.js", FOLDER));
  const server = createServer((request, response) => {
    const script = request.url === "/wsc-client.min.js";
    response.setHeader("content-type", script ? "text/javascript" : "text/html");
    response.end(script ? bundle : PAGE);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

/** A tab of its own profile; what it complains about is collected. */
export async function open(test: TestContext, browser: Browser, url: string): Promise<Page & { complaints: string[] }> {
  const context: BrowserContext = await browser.newContext();
  test.after(() => context.close());
  const page = (await context.newPage()) as Page & { complaints: string[] };
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
  await page.goto(url);
  return page;
}

/** Waits until an expression on the page is true; fails with what the page says. Asked from here: the policy of a page
 * may forbid it to evaluate. */
export async function until(page: Page, expression: string, withinMs = 15_000): Promise<void> {
  const end = Date.now() + withinMs;
  while ((await page.evaluate(`Boolean(${expression})`)) !== true) {
    if (Date.now() > end) {
      const told = await page.evaluate("JSON.stringify(window.told ?? document.body.innerText)");
      throw new Error(`not within ${withinMs} ms: ${expression}\n${String(told)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
