import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { Program } from "./program.js";
import { eventually } from "./wait.js";

const API_KEY = "api-key-of-the-client-tests-0123456789";
const SECRET = "token-secret-of-the-client-tests-0123456789";

type Json = Record<string, unknown>;

function hubProgram(): string {
  const path = process.env.WSC_HUB;
  if (!path) throw new Error("WSC_HUB does not name the program wsc-hub; run: make client-test");
  return path;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A real hub, which a test may end and start again at the same address. */
export class Hub {
  #program: Program | undefined;
  client = "";
  api = "";

  private constructor(
    readonly options: Record<string, string>,
    readonly flags: string[],
  ) {}

  /** Starts a hub in mode trusted, alone; `options` are its variables. It ends with the test. */
  static async start(test: TestContext, options: Record<string, string> = {}, flags: string[] = []): Promise<Hub> {
    const folder = mkdtempSync(join(tmpdir(), "wsc-client-"));
    writeFileSync(join(folder, "admin.key"), API_KEY);
    writeFileSync(join(folder, "default.key"), SECRET);
    const own: Record<string, string> = flags.includes("--dev")
      ? {}
      : { WSC_API_KEYS_DIR: folder, WSC_AUTH_MODE: "trusted", WSC_NODE_ID: "lone" };
    if (options.WSC_AUTH_MODE === "token") {
      const keys = mkdtempSync(join(folder, "tokens-"));
      writeFileSync(join(keys, "default.key"), SECRET);
      own.WSC_AUTH_KEYS_DIR = keys;
    }
    const any = { WSC_CLIENT_ADDR: "127.0.0.1:0", WSC_API_ADDR: "127.0.0.1:0", WSC_LOG_FORMAT: "json" };
    const hub = new Hub({ ...any, ...own, ...options }, flags);
    test.after(async () => {
      await hub.end("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    });
    await hub.run();
    return hub;
  }

  /** Starts it, the second time at the address that it had. */
  async run(): Promise<void> {
    const addresses = this.client ? { WSC_CLIENT_ADDR: this.client, WSC_API_ADDR: this.api } : {};
    const [program, line] = await Program.start(hubProgram(), this.flags, { ...this.options, ...addresses }, (line) =>
      line.includes('"listening"') ? (JSON.parse(line) as { client: string; api: string }) : undefined,
    );
    this.#program = program;
    [this.client, this.api] = [line.client, line.api];
    const healthy = async () => (await fetch(`http://${this.client}/health`)).status === 200;
    await eventually(`the hub is healthy: ${program.output}`, healthy);
  }

  get url(): string {
    return `ws://${this.client}/ws`;
  }

  get output(): string {
    return this.#program?.output ?? "";
  }

  /** Ends it in order, or as a crash would. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    return (await this.#program?.end(signal)) ?? null;
  }

  /** Calls the control API. */
  async call(method: string, path: string, body?: Json): Promise<Json> {
    const headers = { authorization: `Bearer ${API_KEY}` };
    const answer = await fetch(`http://${this.api}${path}`, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text) as Json;
  }

  /** Connections that it counts. */
  async connections(): Promise<number> {
    const health = (await (await fetch(`http://${this.client}/health`)).json()) as { websocket_count: number };
    return health.websocket_count;
  }

  /** The backend sends to a user. */
  post(user: string, message: Json): Promise<Json> {
    return this.call("POST", `/v1/users/${user}/messages`, message);
  }
}

/** A token that ends in so many seconds; the hub allows five more. */
export function mint(user: string, seconds: number, wsc: Json = { send: ["user:*", "group:*"], join: ["*"] }): string {
  const part = (value: Json) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, iat: now, exp: now + seconds, wsc })}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

/** A real redis-server, which ends with the test. Gives its URL. */
export async function startRedis(test: TestContext): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "wsc-client-redis-"));
  const port = await freePort();
  const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", folder];
  const [program] = await Program.start("redis-server", args, { PATH: process.env.PATH ?? "" }, (line) =>
    line.includes("Ready to accept connections") ? true : undefined,
  );
  test.after(async () => {
    await program.end("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });
  return `redis://127.0.0.1:${port}`;
}

/** Two hubs on one Redis that know each other, and who is nowhere: a lease after they started. */
export async function startPair(test: TestContext, options: Record<string, string> = {}): Promise<[Hub, Hub]> {
  const redis = await startRedis(test);
  const quick = { WSC_REDIS_URL: redis, WSC_LEASE: "2s", WSC_HEARTBEAT_INTERVAL: "300ms" };
  const start = (id: string) => Hub.start(test, { WSC_NODE_ID: id, ...quick, ...options });
  const pair: [Hub, Hub] = [await start("node-a"), await start("node-b")];
  for (const hub of pair) {
    const whole = async () => {
      const answers = await Promise.all([hub.call("GET", "/v1/nodes"), hub.call("GET", "/v1/users/nobody")]).catch(() => undefined);
      return (answers?.[0] as unknown as object[] | undefined)?.length === 2;
    };
    await eventually(`the hubs know each other and who is nowhere: ${hub.output}`, whole, 20_000);
  }
  return pair;
}
