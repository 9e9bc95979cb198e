import assert from "node:assert/strict";
import { test } from "node:test";
import { implementations, record } from "../harness/clients.js";
import { Hub, startPair } from "../harness/hub.js";
import { eventually } from "../harness/wait.js";

for (const [name, WebSocket] of implementations) {
  test(`two users chat over one hub, with the WebSocket of ${name}`, async (t) => {
    const hub = await Hub.start(t);
    const alice = record(t, { url: hub.url, userId: "alice", WebSocket });
    const bob = record(t, { url: hub.url, userId: "bob", clientId: "phone", WebSocket });
    const welcome = await alice.client.connect();
    assert.deepEqual([welcome.user_id, welcome.node_id, welcome.resumed], ["alice", "lone", false]);
    assert.equal((await bob.client.connect()).client_id, "phone");
    const result = await alice.client.send({ receiver: "bob", content: "hi", data: { ü: [1, null] }, message_id: "m1" });
    assert.deepEqual([result.message_id, result.status, result.connections], ["m1", "delivered", 1]);
    await eventually("bob has it", () => bob.messages.length > 0);
    const [message] = bob.messages;
    const { sender, receiver, content, data, message_type, message_id } = message!;
    assert.deepEqual([sender, receiver, content, message_type, message_id], ["alice", "bob", "hi", "text", "m1"]);
    assert.deepEqual(data, { ü: [1, null] });
    assert.equal((await alice.client.send({ receiver: "nobody", content: "?" })).status, "offline");
    await assert.rejects(alice.client.send({ receiver: "b b", content: "?" }), { code: "invalid_user_id" });
    await hub.post("bob", { content: "from the backend" });
    await eventually("bob hears the backend", () => bob.contents().includes("from the backend"));
    assert.equal(bob.messages[1]!.sender, undefined);
  });
}

test("a room over two hubs: joined, heard, left, and the sender gets no copy", async (t) => {
  const hubs = await startPair(t);
  const alice = record(t, { url: hubs[0].url, userId: "alice", groups: ["room-1"] });
  const bob = record(t, { url: hubs[1].url, userId: "bob" });
  await Promise.all([alice.client.connect(), bob.client.connect()]);
  assert.equal((await bob.client.join("room-1")).status, "complete");
  const members = async () => (await hubs[0].call("GET", "/v1/groups/room-1")).members as object[];
  await eventually("both are members", async () => (await members()).length === 2);
  const result = await alice.client.send({ group: "room-1", content: "hi all" });
  assert.deepEqual([result.status, result.connections], ["complete", 1]);
  assert.ok(result.nodes_expected! >= 1 && result.nodes_answered === result.nodes_expected, JSON.stringify(result));
  await eventually("bob has it", () => bob.contents().includes("hi all"));
  assert.deepEqual([alice.contents(), bob.messages[0]!.group], [[], "room-1"]);
  const sent = await alice.client.send({ receiver: "bob", content: "across" });
  assert.equal(sent.status, "delivered");
  assert.equal((await bob.client.leave("room-1")).status, "complete");
  await eventually("bob is no member", async () => (await members()).length === 1);
});

test("what is sent before the connect waits in the outbox and arrives in order", async (t) => {
  const hub = await Hub.start(t);
  const bob = record(t, { url: hub.url, userId: "bob" });
  await bob.client.connect();
  const alice = record(t, { url: hub.url, userId: "alice" });
  const texts = Array.from({ length: 60 }, (_, number) => `n${number}`);
  const results = texts.map((content) => alice.client.send({ receiver: "bob", content }));
  void alice.client.connect();
  const statuses = await Promise.all(results.map(async (result) => (await result).status));
  assert.deepEqual(new Set(statuses), new Set(["delivered"]));
  await eventually("all have come", () => bob.messages.length === texts.length);
  assert.deepEqual(bob.contents(), texts);
});

test("two hundred sends at once stay within the hub's rate: none is refused", async (t) => {
  const hub = await Hub.start(t);
  const bob = record(t, { url: hub.url, userId: "bob" });
  const alice = record(t, { url: hub.url, userId: "alice" });
  await Promise.all([alice.client.connect(), bob.client.connect()]);
  const results = Array.from({ length: 200 }, (_, number) =>
    alice.client.send({ receiver: "bob", content: `n${number}` }, { timeoutMs: 30_000 }),
  );
  const statuses = await Promise.all(results.map(async (result) => (await result).status));
  assert.deepEqual(new Set(statuses), new Set(["delivered"]));
  await eventually("all have come", () => bob.messages.length === 200);
});
