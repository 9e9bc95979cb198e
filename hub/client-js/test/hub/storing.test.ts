import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { ClientOptions } from "../../src/index.js";
import { implementations, record, type Recorder } from "../harness/clients.js";
import { Hub, startPair, startRedis } from "../harness/hub.js";
import { Proxy } from "../harness/proxy.js";
import { eventually, next } from "../harness/wait.js";

const backoff = { initialMs: 30, maxMs: 100 };
const texts = (count: number, word = "n") => Array.from({ length: count }, (_, number) => `${word}${number}`);

/** Stores messages for alice, in order. */
async function store(hub: Hub, contents: string[]): Promise<void> {
  for (const content of contents) {
    const result = await hub.post("alice", { content, options: { store: true } });
    assert.ok(["stored", "delivered"].includes(result.status as string), JSON.stringify(result));
  }
}

/** Alice on a device, connected, and past what was stored for it. */
async function device(t: TestContext, hub: Hub, clientId: string, more: Partial<ClientOptions> = {}): Promise<Recorder> {
  const recorder = record(t, { url: hub.url, userId: "alice", clientId, backoff, ackDelayMs: 20, ...more });
  const done = next(recorder.client, "resume_done");
  await recorder.client.connect();
  await done;
  return recorder;
}

/** Ends a device's life in order. */
async function leave(hub: Hub, recorder: Recorder): Promise<void> {
  recorder.client.close();
  await eventually("the device is gone", async () => (await hub.connections()) === 0);
}

for (const [name, WebSocket] of implementations) {
  test(`connections that are cut while messages are stored: each comes once, in order, and is acknowledged (${name})`, async (t) => {
    const hub = await Hub.start(t, { WSC_REDIS_URL: await startRedis(t) });
    const network = await Proxy.to(t, () => hub.client);
    const alice = await device(t, hub, "phone", { url: network.url, WebSocket });
    const contents = texts(300);
    for (let begin = 0; begin < 300; begin += 30) {
      if (begin > 0) network.cut();
      await store(hub, contents.slice(begin, begin + 30));
    }
    await eventually("all have come", () => alice.messages.length >= 300, 30_000);
    assert.deepEqual(alice.contents(), contents);
    t.diagnostic(`${network.accepted} connections`);
    assert.ok(network.accepted >= 5, String(network.accepted));
    await eventually("all are dealt with", () => alice.client.offset === alice.messages.at(-1)!.offset);
    await leave(hub, alice);
    // The hub writes the last acknowledgement a moment after the close. The lives that look acknowledge nothing themselves.
    await eventually("a new life of the device gets nothing again", async () => {
      const again = await device(t, hub, "phone", { acknowledge: "manual" });
      await leave(hub, again);
      return again.messages.length === 0;
    });
  });
}

test("a device that was away gets what it missed, on another node after its own died", async (t) => {
  const [first, second] = await startPair(t);
  let target = first;
  const balancer = await Proxy.to(t, () => target.client);
  const alice = await device(t, first, "phone", { url: balancer.url });
  await store(second, ["before"]);
  await eventually("it came", () => alice.messages.length === 1);
  target = second;
  const away = next(alice.client, "state", ({ state }) => state === "waiting");
  await first.end("SIGKILL");
  await away;
  await store(second, texts(20));
  await eventually("all have come", () => alice.messages.length >= 21);
  assert.deepEqual(alice.contents(), ["before", ...texts(20)]);
  assert.equal(alice.client.welcome?.node_id, "node-b");
});

test("two devices have cursors of their own", async (t) => {
  const hub = await Hub.start(t);
  const phone = await device(t, hub, "phone");
  const laptop = await device(t, hub, "laptop");
  await store(hub, texts(5));
  await eventually("both have all", () => phone.messages.length === 5 && laptop.messages.length === 5);
  await eventually("both are done", () => [phone, laptop].every(({ client }) => client.offset !== undefined));
  laptop.client.close();
  await eventually("one is left", async () => (await hub.connections()) === 1);
  await store(hub, texts(3, "later"));
  await eventually("the phone has them", () => phone.messages.length === 8);
  const back = await device(t, hub, "laptop");
  assert.deepEqual(back.contents(), texts(3, "later"));
});

test("by hand: what was not acknowledged comes again to the next life of the device", async (t) => {
  const hub = await Hub.start(t);
  const first = await device(t, hub, "phone", { acknowledge: "manual" });
  await store(hub, texts(4));
  await eventually("they came", () => first.messages.length === 4);
  first.messages[0]!.ack();
  first.messages[2]!.ack();
  await leave(hub, first);
  const second = await device(t, hub, "phone");
  assert.deepEqual(second.contents(), ["n1", "n2", "n3"]);
});

test("a message whose handler failed comes again after a reconnect, its neighbours do not", async (t) => {
  const hub = await Hub.start(t);
  const network = await Proxy.to(t, () => hub.client);
  const calls: string[] = [];
  const alice = await device(t, hub, "phone", { url: network.url });
  alice.client.on("message", async ({ content }) => {
    calls.push(content!);
    if (content === "n1" && calls.filter((call) => call === "n1").length === 1) throw new Error("not now");
  });
  const failed = next(alice.client, "error", ({ code }) => code === "handler_failed");
  await store(hub, texts(3));
  await failed;
  await eventually("they came", () => calls.length === 3);
  const done = next(alice.client, "resume_done");
  network.cut();
  await done;
  await eventually("it came again", () => calls.length >= 4);
  assert.deepEqual(calls, ["n0", "n1", "n2", "n1"]);
});

test("an inbox over its limit: the gap is told, and what is left comes", async (t) => {
  const hub = await Hub.start(t, { WSC_INBOX_MAX_MESSAGES: "10" });
  const network = await Proxy.to(t, () => hub.client);
  const alice = await device(t, hub, "phone", { url: network.url, backoff: { initialMs: 3000, maxMs: 3000 }, random: () => 1 });
  await store(hub, ["seen"]);
  await eventually("it came", () => alice.messages.length === 1);
  const gap = next(alice.client, "resume_gap");
  const done = next(alice.client, "resume_done");
  network.cut();
  await eventually("it is away", async () => (await hub.connections()) === 0);
  await store(hub, texts(30));
  assert.equal(alice.client.state, "waiting");
  assert.equal((await gap).data?.from, alice.messages[0]!.offset);
  await done;
  assert.deepEqual(alice.contents(), ["seen", ...texts(30).slice(20)]);
});

test("an inbox that is lost with its hub: the gap is told, and new messages come", async (t) => {
  const hub = await Hub.start(t);
  const alice = await device(t, hub, "phone");
  await store(hub, texts(3));
  await eventually("they came", () => alice.messages.length === 3);
  const gap = next(alice.client, "resume_gap");
  await hub.end("SIGKILL");
  await hub.run();
  await store(hub, ["new"]);
  await gap;
  await eventually("the new one came", () => alice.contents().includes("new"));
  assert.deepEqual(alice.contents(), [...texts(3), "new"]);
});
