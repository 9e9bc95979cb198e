import assert from "node:assert/strict";
import { test } from "node:test";
import { implementations, record } from "../harness/clients.js";
import { ScriptedHub } from "../harness/scripted-hub.js";
import { eventually, next } from "../harness/wait.js";

/** Every close code of the protocol, over real sockets. */
const table: [code: number, after: "closed" | "waiting" | "long"][] = [
  [1000, "closed"],
  [1001, "waiting"],
  [1003, "long"],
  [1008, "long"],
  [1009, "long"],
  [1012, "waiting"],
  [1013, "waiting"],
  [4001, "closed"],
  [4002, "closed"],
  [4003, "closed"],
  [4004, "waiting"],
  [4005, "waiting"],
];

for (const [name, WebSocket] of implementations) {
  for (const [code, after] of table) {
    test(`a close with ${code} leads to ${after} (${name})`, async (t) => {
      const hub = await ScriptedHub.start(t);
      const alice = record(t, { url: hub.url, WebSocket, backoff: { initialMs: 20, maxMs: 200 } });
      await alice.client.connect();
      const change = next(alice.client, "state");
      hub.peer.socket.close(code, "the reason");
      const { state, reason, retryInMs, ...told } = await change;
      assert.deepEqual([state, told.code, reason], [after === "closed" ? "closed" : "waiting", code, "the reason"]);
      if (after === "waiting") assert.ok(retryInMs! <= 20, String(retryInMs));
      if (after === "long") assert.ok(retryInMs! >= 100, String(retryInMs));
      if (after === "closed") return assert.equal(hub.peers.length, 1);
      await eventually("it is back", () => alice.client.state === "online");
      assert.equal(hub.peers.length, 2);
    });
  }

  test(`4003 with a way to get tokens: a new one, at once (${name})`, async (t) => {
    const hub = await ScriptedHub.start(t);
    let tokens = 0;
    const alice = record(t, { url: hub.url, WebSocket, getToken: () => `token-${++tokens}` });
    await alice.client.connect();
    const change = next(alice.client, "state");
    hub.peer.socket.close(4003, "token expired");
    assert.equal((await change).retryInMs, 0);
    await eventually("it is back", () => alice.client.state === "online");
    assert.equal(tokens, 2);
  });

  test(`a connection that breaks without a close frame is 1006 and made again (${name})`, async (t) => {
    const hub = await ScriptedHub.start(t);
    const alice = record(t, { url: hub.url, WebSocket, backoff: { initialMs: 20 } });
    await alice.client.connect();
    const change = next(alice.client, "state");
    hub.cut();
    assert.equal((await change).code, 1006);
    await eventually("it is back", () => alice.client.state === "online");
  });

  test(`close() tells the hub 1000, after the last acknowledgement (${name})`, async (t) => {
    const hub = await ScriptedHub.start(t);
    const alice = record(t, { url: hub.url, WebSocket, clientId: "phone" });
    await alice.client.connect();
    const offset = hub.store("a");
    await eventually("it came", () => alice.messages.length === 1);
    const code = new Promise((resolve) => hub.peer.socket.on("close", resolve));
    alice.client.close();
    assert.equal(await code, 1000);
    assert.deepEqual(hub.peer.got, [{ message_type: "ack", offset }]);
  });
}
