import assert from "node:assert/strict";
import { test } from "node:test";
import { implementations, record } from "../harness/clients.js";
import { Hub, mint, startPair } from "../harness/hub.js";
import { Proxy } from "../harness/proxy.js";
import { eventually, next } from "../harness/wait.js";

for (const [name, WebSocket] of implementations) {
  test(`a hub that is killed and started again: connected again, in its groups, the outbox sent (${name})`, async (t) => {
    const hub = await Hub.start(t);
    const backoff = { initialMs: 200, maxMs: 1000 };
    const alice = record(t, { url: hub.url, userId: "alice", groups: ["room-1"], backoff, WebSocket });
    const bob = record(t, { url: hub.url, userId: "bob", backoff, WebSocket });
    await Promise.all([alice.client.connect(), bob.client.connect()]);
    const lost = [alice, bob].map(({ client }) => next(client, "state", ({ state }) => state === "waiting"));
    await hub.end("SIGKILL");
    for (const change of await Promise.all(lost)) assert.equal(change.code, 1006);
    const failed = next(alice.client, "state", ({ state, error }) => state === "waiting" && error === undefined);
    await failed;
    const sent = alice.client.send({ receiver: "bob", content: "while away" }, { timeoutMs: 20_000 });
    const back = next(bob.client, "state", ({ state }) => state === "online");
    await hub.run();
    await back;
    const result = await sent;
    if (result.status === "delivered") await eventually("bob has it", () => bob.contents().includes("while away"));
    else assert.equal(result.status, "offline", "bob came back later than alice");
    const isMember = async () => {
      const { members } = await hub.call("GET", "/v1/groups/room-1");
      return JSON.stringify(members).includes("alice");
    };
    await eventually("alice is in her group again", isMember);
  });
}

test("SIGTERM: going_away, 1012, the hub's hint is the wait, and another node of the cluster takes over", async (t) => {
  const [first, second] = await startPair(t);
  let target = first;
  const balancer = await Proxy.to(t, () => target.client);
  const alice = record(t, { url: balancer.url, userId: "alice" });
  assert.equal((await alice.client.connect()).node_id, "node-a");
  const notice = next(alice.client, "going_away");
  const closed = next(alice.client, "state", ({ state }) => state === "waiting");
  target = second;
  const ended = first.end("SIGTERM");
  const hint = (await notice).data?.retry_after_ms;
  const change = await closed;
  assert.deepEqual([change.code, change.retryInMs], [1012, hint]);
  await next(alice.client, "welcome", ({ node_id }) => node_id === "node-b");
  assert.equal(await ended, 0);
  const reached = async () => (await second.post("alice", { content: "moved" })).status === "delivered";
  await eventually("alice is reached on the other node", reached);
  await eventually("alice has it", () => alice.contents().includes("moved"));
});

test("a kick: kick_out with the reason, 4001, and no return", async (t) => {
  const hub = await Hub.start(t);
  const alice = record(t, { url: hub.url, userId: "alice", backoff: { initialMs: 1, maxMs: 1 } });
  await alice.client.connect();
  const notice = next(alice.client, "kick_out");
  const closed = next(alice.client, "state", ({ state }) => state === "closed");
  await hub.call("POST", "/v1/users/alice/kick", { reason: "spam", notify: true, message: "bye" });
  assert.deepEqual([(await notice).content, (await notice).data?.reason], ["bye", "spam"]);
  assert.deepEqual([(await closed).code, (await closed).reason], [4001, "kicked: spam"]);
  await assert.rejects(alice.client.send({ receiver: "bob", content: "?" }), { code: "closed" });
  await eventually("the hub has no connection", async () => (await hub.connections()) === 0);
  assert.equal(alice.client.state, "closed");
});

for (const [name, WebSocket] of implementations) {
  test(`a token is renewed in place before it ends, and the connection stays (${name})`, async (t) => {
    const hub = await Hub.start(t, { WSC_AUTH_MODE: "token" });
    const reasons: string[] = [];
    const getToken = (reason: string) => {
      reasons.push(reason);
      return mint("alice", reasons.length === 1 ? 0 : 3600);
    };
    const alice = record(t, { url: hub.url, getToken, WebSocket });
    const welcome = await alice.client.connect();
    assert.equal(welcome.user_id, "alice");
    await eventually("the token was asked for again", () => reasons.length === 2);
    await eventually("the renewal was answered", () => alice.client.pending === 0);
    // The first token would end now, five seconds after its exp.
    const ends = next(alice.client, "state", () => true, 7000);
    await assert.rejects(ends, /no fitting state/);
    assert.deepEqual([reasons, alice.client.state], [["connect", "expiring"], "online"]);
  });
}

test("4003: a token that was not renewed is replaced by a connect with a new one", async (t) => {
  const hub = await Hub.start(t, { WSC_AUTH_MODE: "token" });
  let asked = 0;
  const getToken = (reason: string) => {
    asked += 1;
    if (reason === "expiring") throw new Error("no login server");
    return mint("alice", asked === 1 ? 0 : 3600);
  };
  const alice = record(t, { url: hub.url, getToken });
  const told = next(alice.client, "error");
  const closed = next(alice.client, "state", ({ state }) => state === "waiting");
  await alice.client.connect();
  assert.equal((await told).code, "token_failed");
  assert.equal((await closed).code, 4003);
  await next(alice.client, "welcome");
  assert.equal(asked, 3);
});

test("tokens that were revoked: 4003, and back with one that is newer", async (t) => {
  const hub = await Hub.start(t, { WSC_AUTH_MODE: "token" });
  const alice = record(t, { url: hub.url, getToken: () => mint("alice", 3600), backoff: { initialMs: 300, maxMs: 1000 } });
  await alice.client.connect();
  const closed = next(alice.client, "state", ({ state }) => state === "waiting");
  await hub.call("POST", "/v1/users/alice/revoke", {});
  assert.equal((await closed).code, 4003);
  await next(alice.client, "welcome");
});

test("refused upgrades are repeated with back-off, and ws tells why", async (t) => {
  const hub = await Hub.start(t, { WSC_AUTH_MODE: "token" });
  let good = false;
  const getToken = () => (good ? mint("alice", 3600) : mint("alice", -100));
  const alice = record(t, { url: hub.url, getToken, backoff: { initialMs: 40, maxMs: 200 } });
  void alice.client.connect();
  await eventually("five attempts failed", () => alice.states.filter(({ state }) => state === "waiting").length >= 5);
  const failures = alice.states.filter(({ state }) => state === "waiting");
  for (const [attempt, { error, retryInMs }] of failures.entries()) {
    assert.deepEqual([error?.status, error?.code], [401, "token_expired"]);
    assert.ok(retryInMs! <= Math.min(200, 40 * 2 ** attempt), `${attempt}: ${retryInMs}`);
  }
  good = true;
  await next(alice.client, "welcome");
});

test("a full node: Retry-After is honoured, and the client comes in when there is room", async (t) => {
  const hub = await Hub.start(t, { WSC_MAX_CONNECTIONS: "1" });
  const first = record(t, { url: hub.url, userId: "first" });
  await first.client.connect();
  const second = record(t, { url: hub.url, userId: "second", backoff: { initialMs: 10, maxMs: 20 } });
  void second.client.connect();
  const { error, retryInMs } = await next(second.client, "state", ({ state }) => state === "waiting");
  assert.deepEqual([error?.status, error?.code], [503, "node_full"]);
  assert.ok(error!.retryAfterMs! >= 1000 && retryInMs! >= error!.retryAfterMs!, `${retryInMs} ${error!.retryAfterMs}`);
  first.client.close();
  await next(second.client, "welcome");
});

for (const [name, WebSocket] of implementations) {
  test(`a network that goes silent is noticed by two pings, and left (${name})`, async (t) => {
    const hub = await Hub.start(t, { WSC_PING_INTERVAL: "1s" });
    const network = await Proxy.to(t, () => hub.client);
    const alice = record(t, { url: network.url, userId: "alice", WebSocket });
    await alice.client.connect();
    await eventually("pings are answered", () => alice.client.state === "online");
    const lost = next(alice.client, "state", ({ state }) => state === "waiting");
    const begin = Date.now();
    network.stalled = true;
    const change = await lost;
    const took = Date.now() - begin;
    assert.deepEqual([change.code, change.error?.code], [1006, "connection_lost"]);
    assert.ok(took >= 1900 && took < 10_000, `${took} ms`);
    network.stalled = false;
    await next(alice.client, "welcome");
    assert.equal(network.accepted, 2);
  });

  test(`a quiet connection lives through many ping intervals (${name})`, async (t) => {
    const hub = await Hub.start(t, { WSC_PING_INTERVAL: "1s" });
    const alice = record(t, { url: hub.url, userId: "alice", WebSocket });
    await alice.client.connect();
    const change = next(alice.client, "state", () => true, 5000);
    await assert.rejects(change, /no fitting state/);
  });
}

test("connections that are cut while it sends: what was answered delivered has come, in order, and once", async (t) => {
  const hub = await Hub.start(t);
  const network = await Proxy.to(t, () => hub.client);
  const backoff = { initialMs: 50, maxMs: 100 };
  const outbox = { perSecond: Infinity };
  const bob = record(t, { url: hub.url, userId: "bob" });
  const alice = record(t, { url: network.url, userId: "alice", backoff, outbox });
  await Promise.all([alice.client.connect(), bob.client.connect()]);
  const results: Promise<[string, string]>[] = [];
  for (let number = 0; number < 120; number += 1) {
    const content = `n${number}`;
    const outcome = alice.client.send({ receiver: "bob", content }).then(
      ({ status }) => [content, status] as [string, string],
      (error: { code: string }) => [content, error.code] as [string, string],
    );
    results.push(outcome);
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (number % 30 === 20) network.cut();
  }
  const outcomes = await Promise.all(results);
  const delivered = outcomes.filter(([, status]) => status === "delivered").map(([content]) => content);
  await eventually("all that were delivered have come", () => delivered.every((content) => bob.contents().includes(content)));
  const contents = bob.contents() as string[];
  assert.equal(new Set(contents).size, contents.length, "none came twice");
  const numbers = contents.map((content) => Number(content.slice(1)));
  assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b), "in order");
  const words = new Set(outcomes.map(([, status]) => status));
  for (const word of words) assert.ok(["delivered", "connection_lost"].includes(word), word);
  t.diagnostic(`${delivered.length} of 120 delivered, ${network.accepted} connections`);
  assert.ok(network.accepted >= 4 && delivered.length >= 60, `${delivered.length} ${network.accepted}`);
});
