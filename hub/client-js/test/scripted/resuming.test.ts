import assert from "node:assert/strict";
import { test } from "node:test";
import type { Message } from "../../src/index.js";
import { implementations, record } from "../harness/clients.js";
import { ScriptedHub } from "../harness/scripted-hub.js";
import { eventually, next } from "../harness/wait.js";

const backoff = { initialMs: 5, maxMs: 20 };
const texts = (count: number) => Array.from({ length: count }, (_, number) => `n${number}`);

for (const [name, WebSocket] of implementations) {
  test(`connections cut at random: every stored message once, in order, acknowledged at the end (${name})`, async (t) => {
    const hub = await ScriptedHub.start(t);
    const alice = record(t, { url: hub.url, clientId: "phone", backoff, ackDelayMs: 5, WebSocket });
    await alice.client.connect();
    for (const [number, content] of texts(600).entries()) {
      hub.store(content);
      if (number % 40 === 39) hub.cut();
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 4));
    }
    await eventually("all have come", () => alice.messages.length >= 600);
    assert.deepEqual(alice.contents(), texts(600));
    const last = hub.inbox.at(-1)!.offset;
    await eventually("all are acknowledged", () => String(hub.cursors.get("phone")) === String(last));
    t.diagnostic(`${hub.peers.length} connections`);
    assert.ok(hub.peers.length >= 10, String(hub.peers.length));
  });
}

test("session and offset are given back, and groups are joined again when the session does not go on", async (t) => {
  const hub = await ScriptedHub.start(t);
  const alice = record(t, { url: hub.url, clientId: "phone", groups: ["room-1"], backoff });
  await alice.client.connect();
  await eventually("joined", () => hub.peer.got.some(({ message_type }) => message_type === "join"));
  await eventually("answered", () => alice.client.pending === 0);
  const offset = hub.store("a");
  await eventually("it came", () => alice.messages.length === 1);
  const resumed = next(alice.client, "welcome");
  hub.cut();
  assert.equal((await resumed).resumed, true);
  assert.deepEqual(hub.peer.query, { client_id: "phone", session: "s1", offset });
  const anew = next(alice.client, "welcome");
  hub.keepSessions = false;
  hub.cut();
  assert.equal((await anew).resumed, false);
  await eventually("joined again", () => hub.peer.got.some(({ group }) => group === "room-1"));
  assert.equal(hub.peers.length, 3);
});

test("a device that was away gets what it did not acknowledge, then resume_done", async (t) => {
  const hub = await ScriptedHub.start(t);
  const first = record(t, { url: hub.url, clientId: "phone", ackDelayMs: 1 });
  await first.client.connect();
  hub.store("seen");
  await eventually("it came", () => first.messages.length === 1);
  first.client.close();
  await eventually("it is gone", () => hub.peer.socket.readyState === 3);
  const missed = texts(50).map((content) => (hub.store(content), content));
  const second = record(t, { url: hub.url, clientId: "phone" });
  const done = next(second.client, "resume_done");
  await second.client.connect();
  await done;
  assert.deepEqual(second.contents(), missed);
});

test("two devices have cursors of their own", async (t) => {
  const hub = await ScriptedHub.start(t);
  const phone = record(t, { url: hub.url, clientId: "phone", ackDelayMs: 1 });
  await phone.client.connect();
  texts(5).forEach((content) => hub.store(content));
  await eventually("the phone has all", () => phone.messages.length === 5);
  phone.client.close();
  const laptop = record(t, { url: hub.url, clientId: "laptop" });
  const done = next(laptop.client, "resume_done");
  await laptop.client.connect();
  await done;
  assert.deepEqual(laptop.contents(), texts(5));
});

test("what was trimmed while it was away is told as a gap, and the rest comes", async (t) => {
  const hub = await ScriptedHub.start(t);
  const alice = record(t, { url: hub.url, clientId: "phone", backoff });
  await alice.client.connect();
  const from = hub.store("seen");
  await eventually("it came", () => alice.messages.length === 1);
  const gap = next(alice.client, "resume_gap");
  const done = next(alice.client, "resume_done");
  hub.cut();
  texts(20).forEach((content) => hub.store(content));
  hub.trim(11);
  assert.equal((await gap).data?.from, from);
  await done;
  assert.deepEqual(alice.contents(), ["seen", ...texts(20).slice(10)]);
});

test("an inbox of another epoch is a gap, and its smaller offsets are new messages", async (t) => {
  const hub = await ScriptedHub.start(t);
  const alice = record(t, { url: hub.url, clientId: "phone", backoff, ackDelayMs: 1 });
  await alice.client.connect();
  texts(5).forEach((content) => hub.store(content));
  await eventually("they came", () => alice.messages.length === 5);
  const gap = next(alice.client, "resume_gap");
  hub.lose();
  hub.cut();
  await gap;
  hub.store("new");
  await eventually("it came", () => alice.contents().includes("new"));
  await eventually("it is acknowledged", () => hub.cursors.has("phone"));
  assert.equal(String(hub.cursors.get("phone")), String(hub.inbox[0]!.offset));
});

test("by hand: what was not acknowledged comes again to the next life of the device, what was does not", async (t) => {
  const hub = await ScriptedHub.start(t);
  const first = record(t, { url: hub.url, clientId: "phone", acknowledge: "manual", ackDelayMs: 1 });
  await first.client.connect();
  texts(4).forEach((content) => hub.store(content));
  await eventually("they came", () => first.messages.length === 4);
  // The third without the second: only the first can be acknowledged.
  first.messages[0]!.ack();
  first.messages[2]!.ack();
  await eventually("acknowledged", () => hub.cursors.has("phone"));
  const closed = new Promise((resolve) => hub.peer.socket.on("close", resolve));
  first.client.close();
  await closed;
  const second = record(t, { url: hub.url, clientId: "phone" });
  const done = next(second.client, "resume_done");
  await second.client.connect();
  await done;
  assert.deepEqual(second.contents(), ["n1", "n2", "n3"]);
});

test("a message whose handler failed comes again after a reconnect, its neighbours do not", async (t) => {
  const hub = await ScriptedHub.start(t);
  const calls: string[] = [];
  const alice = record(t, { url: hub.url, clientId: "phone", backoff, ackDelayMs: 1 });
  alice.client.on("message", async ({ content }: Message) => {
    calls.push(content!);
    if (content === "n1" && calls.filter((call) => call === "n1").length === 1) throw new Error("not now");
  });
  const failed = next(alice.client, "error", ({ code }) => code === "handler_failed");
  await alice.client.connect();
  texts(3).forEach((content) => hub.store(content));
  await failed;
  await eventually("they came", () => calls.length === 3);
  const done = next(alice.client, "resume_done");
  hub.cut();
  await done;
  const last = hub.inbox.at(-1)!.offset;
  await eventually("all are acknowledged", () => String(hub.cursors.get("phone")) === String(last));
  assert.deepEqual(calls, ["n0", "n1", "n2", "n1"]);
});

test("acked sends: the token is answered after the handler, a repeat of the message with another token is too, once each", async (t) => {
  const hub = await ScriptedHub.start(t);
  const alice = record(t, { url: hub.url });
  let release!: () => void;
  const handled = new Promise<void>((resolve) => (release = resolve));
  alice.client.on("message", () => handled);
  await alice.client.connect();
  const message = { message_type: "text", id: "01A", create_at: "now", content: "important" };
  hub.send({ ...message, ack: "t1" });
  hub.send({ ...message, ack: "t2" });
  await eventually("it came", () => alice.messages.length === 1);
  assert.deepEqual(hub.peer.got, []);
  release();
  const tokens = () => hub.peer.got.map(({ ack }) => ack);
  await eventually("both are answered", () => tokens().length === 2);
  hub.send({ ...message, ack: "t3" });
  await eventually("the third too", () => tokens().length === 3);
  assert.deepEqual([tokens(), alice.messages.length], [["t1", "t2", "t3"], 1]);
});
