import assert from "node:assert/strict";
import { test } from "node:test";
import { WscError } from "../../src/index.js";
import { settle } from "../harness/fake-clock.js";
import { Bench } from "../harness/fake-socket.js";

test("connect resolves with the welcome, and each state is told with the one before", async () => {
  const bench = new Bench({ userId: "alice", clientId: "phone" });
  const welcome = bench.client.connect();
  assert.equal(bench.client.connect(), welcome, "twice is once");
  await settle();
  assert.deepEqual(bench.socket.query, { user_id: "alice", client_id: "phone" });
  assert.deepEqual(bench.socket.protocols, ["wsc.v1"]);
  await bench.socket.welcome();
  assert.equal((await welcome).user_id, "alice");
  const told = bench.states.map(({ previous, state }) => `${previous} -> ${state}`);
  assert.deepEqual(told, ["idle -> connecting", "connecting -> online"]);
});

for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 4004, 4005]) {
  test(`after ${code} it connects again, with full jitter of a second at first`, async () => {
    const bench = new Bench();
    await (await bench.online()).end(code, "why");
    assert.deepEqual([bench.last.state, bench.last.code, bench.last.reason], ["waiting", code, "why"]);
    assert.equal(bench.last.retryInMs, 500);
    await bench.back();
    assert.equal(bench.client.state, "online");
  });
}

for (const code of [1000, 4001, 4002, 4003]) {
  test(`after ${code} it does not connect again by itself, and rejects what waits`, async () => {
    const bench = new Bench();
    const replaced: unknown[] = [];
    bench.client.on("replaced", (event) => replaced.push(event));
    const socket = await bench.online();
    const sent = bench.client.send({ receiver: "bob", content: "hi" });
    const refused = assert.rejects(sent, { code: "closed", mayHaveArrived: true });
    await socket.end(code, "why");
    await refused;
    await bench.clock.advance(3_600_000);
    assert.deepEqual([bench.client.state, bench.last.code, bench.sockets.length], ["closed", code, 1]);
    assert.equal(replaced.length, code === 4002 ? 1 : 0);
    assert.equal(bench.clock.timers, 0);
    await assert.rejects(bench.client.send({ receiver: "bob" }), { code: "closed", mayHaveArrived: false });
    const again = bench.client.connect();
    await settle();
    await bench.socket.welcome();
    await again;
  });
}

for (const code of [1002, 1003, 1007, 1008, 1009]) {
  test(`after ${code}, a fault of its own, it waits long before it connects again`, async () => {
    const bench = new Bench();
    bench.chance = 0;
    await (await bench.online()).end(code);
    assert.equal(bench.last.retryInMs, 15_000);
    await bench.back();
  });
}

test("waits double while attempts fail, up to thirty seconds, and begin anew after a connection that lasted", async () => {
  const bench = new Bench();
  bench.chance = 1;
  void bench.client.connect();
  await settle();
  const waits: (number | undefined)[] = [];
  for (let attempt = 0; attempt < 7; attempt += 1) {
    await bench.socket.end();
    waits.push(bench.last.retryInMs);
    await bench.clock.advance(bench.last.retryInMs!);
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  await bench.socket.welcome();
  await bench.clock.advance(4999);
  await bench.socket.end();
  assert.equal(bench.last.retryInMs, 30_000, "it did not last");
  await bench.back();
  await bench.clock.advance(5000);
  await bench.socket.end();
  assert.equal(bench.last.retryInMs, 1000);
});

test("going_away: nothing is written any more, and the hint is the wait", async () => {
  const bench = new Bench();
  const notices: unknown[] = [];
  bench.client.on("going_away", (notice) => notices.push(notice.data));
  const socket = await bench.online();
  await socket.frame({ message_type: "going_away", data: { reason: "drain", retry_after_ms: 840 } });
  assert.deepEqual(notices, [{ reason: "drain", retry_after_ms: 840 }]);
  const sent = bench.client.send({ receiver: "bob", content: "hi", message_id: "m1" });
  assert.deepEqual(socket.sentOf("text"), []);
  await socket.end(1012, "the node is going away");
  assert.equal(bench.last.retryInMs, 840);
  const next = await bench.back();
  assert.deepEqual(next.sentOf("text"), [{ message_type: "text", receiver: "bob", content: "hi", message_id: "m1" }]);
  await next.frame({ message_type: "result", message_id: "m1", status: "delivered", connections: 1 });
  assert.equal((await sent).status, "delivered");
});

test("a hub that goes away and does not close is left after five seconds, and the hint holds", async () => {
  const bench = new Bench();
  const socket = await bench.online();
  await socket.frame({ message_type: "going_away", data: { reason: "drain", retry_after_ms: 70 } });
  await bench.clock.advance(4999);
  assert.equal(bench.client.state, "online");
  await bench.clock.advance(1);
  assert.deepEqual([bench.last.state, bench.last.retryInMs, bench.last.error?.code], ["waiting", 70, "connection_lost"]);
});

test("two pings without an answer: the connection is given up; any frame is an answer", async () => {
  const bench = new Bench();
  const socket = await bench.online({ ping_interval_ms: 1000 });
  await bench.clock.advance(1000);
  assert.equal(socket.sentOf("ping").length, 1);
  await socket.frame({ message_type: "pong" });
  await bench.clock.advance(2000);
  await socket.frame({ message_type: "text", id: "1", create_at: "" });
  await bench.clock.advance(2999);
  assert.deepEqual([socket.sentOf("ping").length, bench.client.state], [5, "online"]);
  await bench.clock.advance(1);
  assert.deepEqual([bench.last.state, bench.last.code, bench.last.error?.code], ["waiting", 1006, "connection_lost"]);
  assert.equal(socket.readyState, 3, "the socket is closed");
});

test("no welcome in time, and no token in time, are failed attempts", async () => {
  const bench = new Bench({ connectTimeoutMs: 2000 });
  void bench.client.connect();
  await bench.clock.advance(2000);
  assert.deepEqual([bench.last.state, bench.last.error?.code], ["waiting", "no_connection"]);
  const slow = new Bench({ getToken: () => new Promise(() => undefined), connectTimeoutMs: 2000 });
  void slow.client.connect();
  await slow.clock.advance(2000);
  assert.deepEqual([slow.last.state, slow.sockets.length], ["waiting", 0]);
});

test("an error with no close after it, as in Node, is a failed attempt too", async () => {
  const bench = new Bench();
  void bench.client.connect();
  await settle();
  bench.socket.onerror?.({} as never);
  await bench.clock.advance(100);
  assert.deepEqual([bench.last.state, bench.last.code], ["waiting", 1006]);
  await bench.back();
});

test("a token is asked for at each connect; when there is none the attempt fails and is repeated", async () => {
  const tokens = ["t1", new Error("login is down"), "t2"];
  const reasons: string[] = [];
  const bench = new Bench({
    getToken: async (reason) => {
      reasons.push(reason);
      const token = tokens.shift();
      if (typeof token !== "string") throw token;
      return token;
    },
  });
  const socket = await bench.online();
  assert.deepEqual(socket.protocols, ["wsc.v1", "bearer.t1"]);
  await socket.end(1006);
  await bench.clock.advance(bench.last.retryInMs!);
  assert.deepEqual([bench.last.state, bench.last.error?.code], ["waiting", "token_failed"]);
  const next = await bench.back();
  assert.deepEqual(next.protocols, ["wsc.v1", "bearer.t2"]);
  assert.deepEqual(reasons, ["connect", "connect", "connect"]);
});

test("4003 asks for a token and connects at once, a second time with back-off", async () => {
  let count = 0;
  const bench = new Bench({ getToken: () => `t${++count}` });
  await (await bench.online()).end(4003, "token expired");
  assert.equal(bench.last.retryInMs, 0);
  const next = await bench.back();
  assert.deepEqual(next.protocols, ["wsc.v1", "bearer.t2"]);
  await next.end(4003);
  assert.equal(bench.last.retryInMs, 1000, "half of two seconds");
});

test("auth_expiring: a new token is sent as auth, and a refusal of it is told", async () => {
  let count = 0;
  const bench = new Bench({ getToken: (reason) => `${reason}${++count}` });
  const socket = await bench.online();
  await socket.frame({ message_type: "auth_expiring", data: { expires_in_ms: 30_000 } });
  const [auth] = socket.sentOf("auth");
  assert.deepEqual(auth?.data, { token: "expiring2" });
  await socket.frame({ message_type: "result", message_id: auth?.message_id, status: "renewed" });
  assert.deepEqual([bench.errors.length, bench.client.pending], [0, 0]);
  await socket.frame({ message_type: "auth_expiring" });
  const id = socket.sentOf("auth")[1]?.message_id;
  await socket.frame({ message_type: "error", message_id: id, code: "invalid_token", content: "bad" });
  assert.deepEqual(bench.errors.map((error) => error.code), ["token_failed"]);
});

test("kick_out is told before the end", async () => {
  const bench = new Bench();
  const notices: unknown[] = [];
  bench.client.on("kick_out", ({ content, data }) => notices.push([content, data]));
  const socket = await bench.online();
  await socket.frame({ message_type: "kick_out", content: "bye", data: { reason: "spam" } });
  await socket.end(4001, "kicked: spam");
  assert.deepEqual(notices, [["bye", { reason: "spam" }]]);
  assert.deepEqual([bench.last.state, bench.last.reason], ["closed", "kicked: spam"]);
});

test("close ends everything in order and leaves no timer, in each state", async () => {
  const online = new Bench();
  const socket = await online.online();
  online.client.close();
  assert.deepEqual([socket.closedWith, online.client.state, online.clock.timers], [1000, "closed", 0]);
  const waiting = new Bench();
  await (await waiting.online()).end(1006);
  waiting.client.close();
  assert.deepEqual([waiting.client.state, waiting.clock.timers], ["closed", 0]);
  const connecting = new Bench();
  const never = connecting.client.connect();
  await settle();
  connecting.client.close();
  assert.equal(connecting.clock.timers, 0);
  await assert.rejects(never, (error) => error instanceof WscError && error.code === "closed");
  const asking = new Bench({ getToken: () => Promise.resolve("t") });
  void asking.client.connect();
  asking.client.close();
  await settle();
  assert.deepEqual([asking.sockets.length, asking.clock.timers], [0, 0]);
});

test("a handler may close the client in any change of the state", async () => {
  for (const state of ["connecting", "online", "waiting"]) {
    const bench = new Bench();
    bench.client.on("state", (change) => change.state === state && bench.client.close());
    void bench.client.connect();
    await settle();
    if (state !== "connecting") await bench.socket.welcome();
    if (state === "waiting") await bench.socket.end(1006);
    await bench.clock.advance(100_000);
    assert.deepEqual([bench.client.state, bench.clock.timers], ["closed", 0], state);
    assert.equal(bench.sockets.length, state === "connecting" ? 0 : 1, state);
  }
});

test("what belongs to a connection that is over is not heard", async () => {
  const bench = new Bench();
  const socket = await bench.online();
  const late = socket.onmessage;
  await socket.end(1006);
  await bench.back();
  const got: unknown[] = [];
  bench.client.on("message", (message) => got.push(message));
  late?.({ data: '{"message_type":"text","id":"1","create_at":""}' } as never);
  await settle();
  assert.deepEqual(got, []);
});

test("a browser whose network is back does not wait on, one whose page is seen again looks whether the hub lives", async () => {
  const listeners = new Map<string, () => void>();
  const target = {
    visibilityState: "visible",
    addEventListener: (name: string, listener: () => void) => listeners.set(name, listener),
    removeEventListener: (name: string) => listeners.delete(name),
  };
  const globals = globalThis as unknown as Record<string, unknown>;
  const before = { document: globals.document, add: globals.addEventListener, remove: globals.removeEventListener };
  Object.assign(globals, {
    document: target,
    addEventListener: target.addEventListener,
    removeEventListener: target.removeEventListener,
  });
  try {
    const bench = new Bench();
    const socket = await bench.online();
    listeners.get("visibilitychange")!();
    assert.equal(socket.sentOf("ping").length, 1);
    await bench.clock.advance(4999);
    assert.equal(bench.client.state, "online");
    await bench.clock.advance(1);
    assert.deepEqual([bench.last.state, bench.last.error?.code], ["waiting", "connection_lost"]);
    bench.chance = 1;
    for (let failure = 0; failure < 5; failure += 1) {
      await bench.clock.advance(bench.last.retryInMs!);
      await bench.socket.end(1006);
    }
    assert.equal(bench.last.retryInMs, 30_000);
    const attempts = bench.sockets.length;
    listeners.get("online")!();
    await bench.clock.advance(1000);
    assert.equal(bench.sockets.length, attempts + 1);
    bench.client.close();
    assert.equal(listeners.size, 0);
  } finally {
    Object.assign(globals, { document: before.document, addEventListener: before.add, removeEventListener: before.remove });
  }
});

test("the hub's own wait is not cut short by a network that is back", async () => {
  const bench = new Bench();
  const socket = await bench.online();
  await socket.frame({ message_type: "going_away", data: { retry_after_ms: 9000 } });
  await socket.end(1012);
  await bench.clock.advance(8999);
  assert.equal(bench.sockets.length, 1);
  await bench.clock.advance(1);
  assert.equal(bench.sockets.length, 2);
});
