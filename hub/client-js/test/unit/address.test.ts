import assert from "node:assert/strict";
import { test } from "node:test";
import { WscClient } from "../../src/index.js";
import { address, subprotocols } from "../../src/options.js";

test("the address holds what the protocol names, percent-encoded, and keeps its own query", () => {
  const options = { url: "https://hub.example:8443/ws?tenant=a%2Fb#x", userId: "al+ice", clientId: "phone" };
  assert.equal(
    address(options, "s1", "e:1-0"),
    "wss://hub.example:8443/ws?tenant=a%2Fb&user_id=al%2Bice&client_id=phone&session=s1&offset=e%3A1-0",
  );
});

test("with a token it names the user, and without a device no offset is sent", () => {
  const options = { url: new URL("ws://hub/ws"), userId: "alice", getToken: () => "t" };
  assert.equal(address(options, undefined, "e:1-0"), "ws://hub/ws");
});

test("the token travels as a subprotocol beside the one that the hub answers", () => {
  assert.deepEqual(subprotocols("a.b.c"), ["wsc.v1", "bearer.a.b.c"]);
  assert.deepEqual(subprotocols(undefined), ["wsc.v1"]);
});

test("a URL that is none is refused at once", () => {
  assert.throws(() => new WscClient({ url: "not a url" }), TypeError);
});

test("without a global WebSocket the error says what to do", () => {
  const globals = globalThis as { WebSocket?: unknown };
  const before = globals.WebSocket;
  globals.WebSocket = undefined;
  try {
    assert.throws(() => void new WscClient({ url: "ws://hub/ws" }).connect(), /pass one as the option WebSocket/);
  } finally {
    globals.WebSocket = before;
  }
});
