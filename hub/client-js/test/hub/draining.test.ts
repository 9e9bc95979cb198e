import assert from "node:assert/strict";
import { test } from "node:test";
import { record, type Recorder } from "../harness/clients.js";
import { startPair } from "../harness/hub.js";
import { Proxy } from "../harness/proxy.js";
import { eventually } from "../harness/wait.js";

const CLIENTS = 20;

test("a drain under load: each client is told, comes back after its hint on another node, and no stored message is lost or doubled", async (t) => {
  const [first, second] = await startPair(t, { WSC_DRAIN_SETTLE: "0s" });
  let target = first;
  const balancer = await Proxy.to(t, () => target.client);
  const hints: number[] = [];
  const clients: Recorder[] = [];
  for (let number = 0; number < CLIENTS; number += 1) {
    const user = record(t, { url: balancer.url, userId: `user-${number}`, clientId: "phone" });
    user.client.on("going_away", ({ data }) => hints.push(data!.retry_after_ms!));
    await user.client.connect();
    clients.push(user);
  }
  target = second;
  const drain = { id: "drain-1", rate_per_second: 10, retry_after_max_ms: 500 };
  let moved = false;
  let rounds = 0;
  const storing = (async () => {
    for (; !moved; rounds += 1) {
      const round = rounds;
      const send = (number: number) =>
        second.post(`user-${number}`, { content: `n${round}`, message_id: `m${round}`, options: { store: true } });
      const results = await Promise.all(clients.map((_, number) => send(number)));
      for (const { status } of results) assert.ok(["stored", "delivered", "partial"].includes(status as string), String(status));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  await first.call("POST", "/admin/drain", drain);
  await eventually("all are on the other node", async () => (await second.connections()) === CLIENTS, 20_000);
  moved = true;
  await storing;
  t.diagnostic(`${rounds * CLIENTS} messages stored during the drain`);
  assert.ok(rounds >= 10, String(rounds));
  const expected = Array.from({ length: rounds }, (_, round) => `n${round}`);
  for (const [number, { client, messages, contents, states }] of clients.entries()) {
    await eventually(`user-${number} has all: ${contents().join()}`, () => messages.length >= rounds);
    assert.deepEqual(contents(), expected, `user-${number}`);
    assert.equal(client.welcome?.node_id, "node-b");
    const moves = states.filter(({ state }) => state === "waiting");
    assert.deepEqual(moves.map(({ code }) => code), [1012], `user-${number}`);
    assert.ok(hints.includes(moves[0]!.retryInMs!), `${moves[0]!.retryInMs}: ${hints.join()}`);
  }
  assert.equal(hints.length, CLIENTS);
  assert.ok(hints.every((hint) => hint >= 0 && hint <= 500), hints.join());
});
