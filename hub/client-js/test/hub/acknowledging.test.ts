import assert from "node:assert/strict";
import { test } from "node:test";
import type { Message } from "../../src/index.js";
import { record } from "../harness/clients.js";
import { Hub, startPair } from "../harness/hub.js";
import { Proxy } from "../harness/proxy.js";
import { eventually, next } from "../harness/wait.js";

const acked = (content: string, timeout_ms = 10_000) => ({ content, options: { wait: "acked", timeout_ms, max_retries: 0 } });

test("acked: the backend hears of it when the handler is done, not before", async (t) => {
  const hub = await Hub.start(t);
  const alice = record(t, { url: hub.url, userId: "alice" });
  let release!: () => void;
  const handled = new Promise<void>((resolve) => (release = resolve));
  alice.client.on("message", () => handled);
  await alice.client.connect();
  const early = await hub.post("alice", acked("slow", 300));
  assert.equal(early.status, "delivered", "the handler is still at it");
  const result = hub.post("alice", acked("important"));
  await eventually("it came", () => alice.contents().includes("important"));
  release();
  assert.equal((await result).status, "acked");
});

test("acked by hand: ack() is what counts, and a handler that fails is none", async (t) => {
  const hub = await Hub.start(t);
  const alice = record(t, { url: hub.url, userId: "alice", acknowledge: "manual" });
  await alice.client.connect();
  const result = hub.post("alice", acked("important"));
  await eventually("it came", () => alice.messages.length === 1);
  alice.messages[0]!.ack();
  assert.equal((await result).status, "acked");
  const bob = record(t, { url: hub.url, userId: "bob" });
  bob.client.on("message", () => Promise.reject(new Error("no")));
  const told = next(bob.client, "error", ({ code }) => code === "handler_failed");
  await bob.client.connect();
  assert.equal((await hub.post("bob", acked("x", 300))).status, "delivered");
  await told;
});

test("acked over a reconnect: the acknowledgement counts from another node", async (t) => {
  const [first, second] = await startPair(t);
  let target = first;
  const balancer = await Proxy.to(t, () => target.client);
  const backoff = { initialMs: 20, maxMs: 50 };
  const alice = record(t, { url: balancer.url, userId: "alice", clientId: "phone", backoff, acknowledge: "manual" });
  await alice.client.connect();
  const result = first.post("alice", acked("important"));
  await eventually("it came", () => alice.messages.length === 1);
  const [message] = alice.messages as [Message];
  const away = next(alice.client, "state", ({ state }) => state === "waiting");
  target = second;
  balancer.cut();
  await away;
  message.ack();
  assert.equal((await result).status, "acked");
  await eventually("alice is there", () => alice.client.welcome?.node_id === "node-b");
});
