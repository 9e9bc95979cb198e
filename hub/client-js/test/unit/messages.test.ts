import assert from "node:assert/strict";
import { test } from "node:test";
import type { Message } from "../../src/index.js";
import { settle } from "../harness/fake-clock.js";
import { Bench } from "../harness/fake-socket.js";

const text = (id: string, more: object = {}) => ({ message_type: "text", id, create_at: "", content: id, ...more });

test("a send resolves with the hub's result, rejects with its error, and a truthful no is a result", async () => {
  const bench = new Bench();
  const socket = await bench.online();
  const [good, offline, refused] = ["m1", "m2", "m3"].map((message_id) =>
    bench.client.send({ receiver: "bob", content: "hi", data: { x: [1] }, message_id }),
  );
  const refusal = assert.rejects(refused!, { name: "WscError", code: "not_permitted", message: "sending is not granted" });
  assert.deepEqual(socket.sent[0], {
    message_type: "text",
    receiver: "bob",
    content: "hi",
    data: { x: [1] },
    message_id: "m1",
  });
  await socket.frame({ message_type: "error", message_id: "m3", code: "not_permitted", content: "sending is not granted" });
  await socket.frame({ message_type: "result", message_id: "m2", status: "offline", connections: 0 });
  await socket.frame({ message_type: "result", message_id: "m1", status: "delivered", connections: 2 });
  assert.deepEqual([(await good)?.status, (await good)?.connections, (await offline)?.status], ["delivered", 2, "offline"]);
  await refusal;
});

test("message ids are made when none is given, and a bad one is refused here", async () => {
  const bench = new Bench();
  const socket = await bench.online();
  for (let number = 0; number < 3; number += 1) void bench.client.send({ group: "room-1", content: "hi" });
  const ids = socket.sentOf("text").map((frame) => frame.message_id as string);
  assert.equal(new Set(ids).size, 3);
  for (const id of ids) assert.match(id, /^[A-Za-z0-9._:-]{1,64}$/);
  for (const message_id of ["", "a b", "x".repeat(65)]) {
    await assert.rejects(bench.client.send({ receiver: "bob", message_id }), { code: "bad_request" });
  }
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  await assert.rejects(bench.client.send({ receiver: "bob", data: circle }), TypeError);
});

test("a written send is rejected when the connection is lost, unless it was asked to be repeated with its id", async () => {
  const bench = new Bench();
  const socket = await bench.online();
  const lost = bench.client.send({ receiver: "bob", content: "once" });
  const again = bench.client.send({ receiver: "bob", content: "again", message_id: "m1" }, { resend: true });
  const rejected = assert.rejects(lost, { code: "connection_lost", mayHaveArrived: true });
  await socket.end(1006);
  await rejected;
  const next = await bench.back();
  assert.deepEqual(next.sentOf("text").map((frame) => [frame.content, frame.message_id]), [["again", "m1"]]);
  await next.frame({ message_type: "result", message_id: "m1", status: "delivered", duplicate: true });
  assert.equal((await again).duplicate, true);
});

test("messages come in the order of the wire; a repeated id and a repeated offset come once", async () => {
  const bench = new Bench();
  const got: string[] = [];
  bench.client.on("message", (message) => got.push(message.content!));
  const socket = await bench.online();
  await socket.frame(text("a"));
  await socket.frame(text("b", { offset: "e:9-0" }));
  await socket.frame(text("a"));
  await socket.frame(text("c", { offset: "e:10-0" }));
  await socket.end(1006);
  const next = await bench.back();
  await next.frame(text("b", { offset: "e:9-0" }));
  await next.frame(text("c", { offset: "e:10-0" }));
  await next.frame(text("d", { offset: "e:11-0" }));
  assert.deepEqual(got, ["a", "b", "c", "d"]);
});

test("it resumes with the session and, as a device, with the offset that it saw last", async () => {
  const bench = new Bench({ clientId: "phone" });
  bench.client.on("message", () => undefined);
  const socket = await bench.online({ session: "s1" });
  await socket.frame(text("b", { offset: "e:9-0" }));
  await socket.end(1006);
  const next = await bench.back({ session: "s1", resumed: true });
  assert.deepEqual(next.query, { client_id: "phone", session: "s1", offset: "e:9-0" });
});

test("stored messages are acknowledged after their handlers, cumulatively and at most every 200 ms", async () => {
  const bench = new Bench({ clientId: "phone" });
  const releases: (() => void)[] = [];
  bench.client.on("message", () => new Promise<void>((release) => releases.push(release)));
  const socket = await bench.online();
  for (const number of [1, 2, 3]) await socket.frame(text(`${number}`, { offset: `e:${number}-0` }));
  releases[1]!();
  await bench.clock.advance(1000);
  assert.deepEqual(socket.sentOf("ack"), [], "the first is not done");
  releases[0]!();
  await settle();
  releases[2]!();
  await bench.clock.advance(199);
  assert.deepEqual(socket.sentOf("ack"), []);
  await bench.clock.advance(1);
  assert.deepEqual(socket.sentOf("ack"), [{ message_type: "ack", offset: "e:3-0" }]);
  await bench.clock.advance(5000);
  assert.equal(socket.sentOf("ack").length, 1, "nothing new, no ack");
  assert.equal(bench.client.offset, "e:3-0");
});

test("an acknowledgement that may have been lost is sent again after a reconnect, and before a close", async () => {
  const bench = new Bench({ clientId: "phone" });
  bench.client.on("message", () => undefined);
  const socket = await bench.online();
  await socket.frame(text("a", { offset: "e:1-0" }));
  await bench.clock.advance(200);
  await socket.end(1006);
  const next = await bench.back();
  assert.deepEqual(next.sentOf("ack"), [{ message_type: "ack", offset: "e:1-0" }]);
  await next.frame(text("b", { offset: "e:2-0" }));
  bench.client.close();
  assert.deepEqual(next.sentOf("ack").at(-1), { message_type: "ack", offset: "e:2-0" });
});

test("by hand: a message is acknowledged when ack() was called for it and for all before it", async () => {
  const bench = new Bench({ acknowledge: "manual" });
  const got: Message[] = [];
  bench.client.on("message", (message) => got.push(message));
  const socket = await bench.online();
  for (const number of [1, 2, 3]) await socket.frame(text(`${number}`, { offset: `e:${number}-0`, ack: `t${number}` }));
  await bench.clock.advance(1000);
  assert.deepEqual(socket.sentOf("ack"), []);
  got[2]!.ack();
  got[0]!.ack();
  got[0]!.ack();
  await bench.clock.advance(1000);
  assert.deepEqual(socket.sentOf("ack").map(({ ack, offset }) => ack ?? offset), ["t3", "t1", "e:1-0"]);
  got[1]!.ack();
  await bench.clock.advance(1000);
  assert.deepEqual(socket.sentOf("ack").map(({ ack, offset }) => ack ?? offset), ["t3", "t1", "e:1-0", "t2", "e:3-0"]);
});

test("an ack token is answered after the handler; without a connection, after the next welcome", async () => {
  const bench = new Bench();
  let release!: () => void;
  bench.client.on("message", () => new Promise<void>((done) => (release = done)));
  const socket = await bench.online();
  await socket.frame(text("a", { ack: "t1" }));
  assert.deepEqual(socket.sentOf("ack"), []);
  release();
  await settle();
  assert.deepEqual(socket.sentOf("ack"), [{ message_type: "ack", ack: "t1" }]);
  await socket.frame(text("b", { ack: "t2" }));
  await socket.end(1006);
  release();
  const next = await bench.back();
  assert.deepEqual(next.sentOf("ack"), [{ message_type: "ack", ack: "t2" }]);
});

test("a handler that fails is told, nothing is acknowledged, and the message comes again after a reconnect", async () => {
  const bench = new Bench({ clientId: "phone" });
  let calls = 0;
  bench.client.on("message", async () => {
    calls += 1;
    if (calls === 2) throw new Error("database is down");
  });
  const socket = await bench.online();
  await socket.frame(text("a", { offset: "e:1-0" }));
  await socket.frame(text("b", { offset: "e:2-0", ack: "t" }));
  await bench.clock.advance(1000);
  assert.deepEqual(bench.errors.map((error) => error.code), ["handler_failed"]);
  assert.deepEqual(socket.sentOf("ack"), [{ message_type: "ack", offset: "e:1-0" }]);
  await socket.end(1006);
  const next = await bench.back();
  assert.equal(next.query.offset, "e:1-0");
  await next.frame(text("b", { offset: "e:2-0", ack: "t2" }));
  await bench.clock.advance(1000);
  assert.equal(calls, 3);
  assert.deepEqual(next.sentOf("ack").slice(1).map(({ ack, offset }) => ack ?? offset), ["t", "t2", "e:2-0"]);
});

test("with no handler nothing is acknowledged, so nothing is lost", async () => {
  const bench = new Bench({ clientId: "phone" });
  const socket = await bench.online();
  await socket.frame(text("a", { offset: "e:1-0" }));
  await bench.clock.advance(1000);
  assert.deepEqual(socket.sentOf("ack"), []);
  const got: unknown[] = [];
  bench.client.on("message", (message) => got.push(message.content));
  await socket.end(1006);
  const next = await bench.back();
  assert.equal(next.query.offset, undefined);
  await next.frame(text("a", { offset: "e:1-0" }));
  assert.deepEqual(got, ["a"]);
});

test("resume_gap and resume_done are told, an error without a frame of one's own too, and what is no frame", async () => {
  const bench = new Bench();
  const told: unknown[] = [];
  bench.client.on("resume_gap", (gap) => told.push(gap.data));
  bench.client.on("resume_done", () => told.push("done"));
  const socket = await bench.online();
  await socket.frame({ message_type: "resume_gap", data: { from: "e:1-0", to: "e:5-0" } });
  await socket.frame({ message_type: "resume_done" });
  assert.deepEqual(told, [{ from: "e:1-0", to: "e:5-0" }, "done"]);
  await socket.frame({ message_type: "error", code: "bad_request", content: "no" });
  for (const bad of ["", "{", "null", "[1]", '{"message_type":7}']) await socket.frame(bad);
  assert.deepEqual(bench.errors.map((error) => error.code), ["bad_request", ...Array(5).fill("invalid_frame")]);
});

test("groups are joined, and joined again after a reconnect that did not resume; those left are not", async () => {
  const bench = new Bench({ groups: ["lobby"] });
  const socket = await bench.online();
  const joined = bench.client.join("room-1");
  const frames = () => bench.socket.sent.filter(({ group }) => group).map(({ message_type, group }) => `${message_type} ${group}`);
  assert.deepEqual(frames(), ["join lobby", "join room-1"]);
  for (const { message_id } of socket.sentOf("join")) {
    await socket.frame({ message_type: "result", message_id, status: "complete" });
  }
  assert.equal((await joined).status, "complete");
  await bench.clock.advance(5000);
  await socket.end(1006);
  await (await bench.back({ resumed: true })).end(1006);
  assert.deepEqual(frames(), [], "resumed: the hub kept them");
  await bench.back();
  assert.deepEqual(frames().sort(), ["join lobby", "join room-1"]);
  void bench.client.leave("room-1").catch(() => undefined);
  assert.equal(frames().at(-1), "leave room-1");
  await bench.socket.end(1006);
  await bench.back();
  assert.deepEqual(bench.client.groups, ["lobby"]);
  assert.equal(frames().filter((frame) => frame === "join room-1").length, 0);
  assert.ok(frames().includes("leave room-1"), "its result was lost, so it is sent again");
});

test("a resumed session may have missed the last changes of groups: those of its last five seconds are repeated", async () => {
  const bench = new Bench();
  const socket = await bench.online();
  const answer = async () => {
    const [last] = socket.sent.filter(({ group }) => group).slice(-1);
    await socket.frame({ message_type: "result", message_id: last?.message_id, status: "complete" });
  };
  void bench.client.join("old");
  await answer();
  await bench.clock.advance(4000);
  void bench.client.join("left");
  await answer();
  void bench.client.leave("left");
  await answer();
  await bench.clock.advance(1000);
  void bench.client.join("new");
  await answer();
  await socket.end(1006);
  const next = await bench.back({ resumed: true });
  const frames = next.sent.filter(({ group }) => group).map(({ message_type, group }) => `${message_type} ${group}`);
  assert.deepEqual(frames.sort(), ["join new", "leave left"]);
});

test("a group that may not be joined again is told and forgotten, one that cannot be for now is tried again", async () => {
  const bench = new Bench({ groups: ["secret", "busy"] });
  const socket = await bench.online();
  const refuse = async (group: string, code: string) => {
    const frame = socket.sentOf("join").filter((join) => join.group === group).at(-1);
    await socket.frame({ message_type: "error", message_id: frame?.message_id, code, content: "no" });
  };
  await refuse("secret", "not_permitted");
  await refuse("busy", "registry_unavailable");
  assert.deepEqual(bench.errors.map(({ code, group }) => `${code} ${group}`), ["not_permitted secret", "registry_unavailable busy"]);
  assert.deepEqual(bench.client.groups, ["busy"]);
  const before = socket.sentOf("join").length;
  await bench.clock.advance(5000);
  assert.deepEqual(socket.sentOf("join").slice(before).map(({ group }) => group), ["busy"]);
  bench.client.close();
  assert.equal(bench.clock.timers, 0);
});
