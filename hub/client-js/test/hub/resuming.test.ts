import assert from "node:assert/strict";
import { test } from "node:test";
import { implementations, record } from "../harness/clients.js";
import { Hub, startPair } from "../harness/hub.js";
import { Proxy } from "../harness/proxy.js";
import { eventually, next } from "../harness/wait.js";

const backoff = { initialMs: 30, maxMs: 60 };

for (const [name, WebSocket] of implementations) {
  test(`a session goes on on another node: the device, its groups, those of the backend too (${name})`, async (t) => {
    const [first, second] = await startPair(t);
    let target = first;
    const balancer = await Proxy.to(t, () => target.client);
    // No client_id: only the session can say which device it is.
    const alice = record(t, { url: balancer.url, userId: "alice", groups: ["own"], backoff, WebSocket });
    const before = await alice.client.connect();
    await eventually("joined", () => alice.client.pending === 0);
    await first.call("PUT", "/v1/groups/given/members/alice");
    await alice.client.join("left");
    await alice.client.leave("left");
    const back = next(alice.client, "welcome");
    target = second;
    balancer.cut();
    const after = await back;
    assert.deepEqual([after.resumed, after.node_id, after.client_id], [true, "node-b", before.client_id]);
    const members = async (group: string) => JSON.stringify((await second.call("GET", `/v1/groups/${group}`)).members);
    await eventually("in its own group", async () => (await members("own")).includes("alice"));
    await eventually("in the given group", async () => (await members("given")).includes("alice"));
    await eventually("not in the one it left", async () => !(await members("left")).includes("alice"));
  });
}

test("a session that lapsed is not resumed, and its groups are joined again", async (t) => {
  const hub = await Hub.start(t, { WSC_RESUME_WINDOW: "0s" });
  const network = await Proxy.to(t, () => hub.client);
  const alice = record(t, { url: network.url, userId: "alice", groups: ["room-1"], backoff });
  await alice.client.connect();
  const back = next(alice.client, "welcome");
  network.cut();
  assert.equal((await back).resumed, false);
  const member = async () => JSON.stringify((await hub.call("GET", "/v1/groups/room-1")).members).includes("alice");
  await eventually("in its group again", async () => alice.client.pending === 0 && (await member()));
});

test("a device that connects a second time replaces the first, which stays away", async (t) => {
  const hub = await Hub.start(t);
  const first = record(t, { url: hub.url, userId: "alice", clientId: "phone" });
  await first.client.connect();
  const replaced = next(first.client, "replaced");
  const second = record(t, { url: hub.url, userId: "alice", clientId: "phone" });
  await second.client.connect();
  assert.equal((await replaced).code, 4002);
  assert.deepEqual([first.client.state, second.client.state], ["closed", "online"]);
});
