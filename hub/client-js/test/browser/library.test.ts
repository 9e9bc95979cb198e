import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import type { Browser } from "playwright-core";
import { launch, open, servePage, until } from "../harness/browser.js";
import { Hub, mint } from "../harness/hub.js";
import { Proxy } from "../harness/proxy.js";
import { ScriptedHub } from "../harness/scripted-hub.js";

let browser: Browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** The test page's origin, and a hub that lets it in. */
async function surroundings(t: TestContext, options: Record<string, string> = {}): Promise<[string, Hub]> {
  const origin = await servePage(t);
  return [origin, await Hub.start(t, { WSC_ALLOWED_ORIGINS: origin, ...options })];
}

async function tab(t: TestContext, origin: string, options: object, token?: () => string) {
  const page = await open(t, browser, origin);
  if (token) await page.exposeFunction("token", token);
  await until(page, "document.title === 'ready'");
  await page.evaluate(`void start(${JSON.stringify(options)}, ${token !== undefined})`);
  await until(page, "client.state !== 'connecting'");
  return page;
}

test("in Chromium two pages of another origin chat, and closing one closes its connection", async (t) => {
  const [origin, hub] = await surroundings(t);
  const alice = await tab(t, origin, { url: hub.url, userId: "alice", groups: ["room-1"] });
  const bob = await tab(t, origin, { url: hub.url, userId: "bob", groups: ["room-1"] });
  await until(alice, "client.state === 'online' && client.pending === 0");
  await until(bob, "client.state === 'online' && client.pending === 0");
  const direct = await alice.evaluate("client.send({ receiver: 'bob', content: 'hi', data: { x: 1 } })");
  assert.equal((direct as { status: string }).status, "delivered");
  const room = await bob.evaluate("client.send({ group: 'room-1', content: 'hi all' })");
  assert.deepEqual((room as { connections: number }).connections, 1);
  await until(bob, "told.messages.some((m) => m.content === 'hi' && m.sender === 'alice' && m.data.x === 1)");
  await until(alice, "told.messages.some((m) => m.content === 'hi all' && m.group === 'room-1')");
  await alice.close();
  assert.deepEqual(bob.complaints, []);
  const offline = async () => (await hub.call("GET", "/v1/users/alice")).online === false;
  for (let look = 0; !(await offline()); look += 1) {
    assert.ok(look < 500, "alice is still online");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

test("in Chromium a page of an origin that is not allowed gets no connection, and goes on trying with back-off", async (t) => {
  const [origin, hub] = await surroundings(t, { WSC_ALLOWED_ORIGINS: "https://example.org" });
  const page = await tab(t, origin, { url: hub.url, userId: "eve", backoff: { initialMs: 20, maxMs: 50 } });
  await until(page, "told.states.filter(({ state }) => state === 'waiting').length >= 3");
  const codes = await page.evaluate("[...new Set(told.states.filter((s) => s.state === 'waiting').map((s) => s.code))]");
  assert.deepEqual(codes, [1006], "a browser does not say why");
});

test("in Chromium the token travels as a subprotocol and is renewed in place", async (t) => {
  const [origin, hub] = await surroundings(t, { WSC_AUTH_MODE: "token" });
  let asked = 0;
  const token = () => mint("alice", ++asked === 1 ? 0 : 3600);
  const page = await tab(t, origin, { url: hub.url }, token);
  await until(page, "client.state === 'online' && client.welcome.user_id === 'alice'");
  await until(page, "client.pending === 0");
  await new Promise((resolve) => setTimeout(resolve, 6500));
  assert.equal(asked, 2);
  assert.deepEqual(await page.evaluate("told.states.map(({ state }) => state)"), ["connecting", "online"]);
});

test("in Chromium a hub that is killed and started again is found again, and the outbox is sent", async (t) => {
  const [origin, hub] = await surroundings(t);
  const page = await tab(t, origin, { url: hub.url, userId: "alice", backoff: { initialMs: 100, maxMs: 500 } });
  await until(page, "client.state === 'online'");
  await hub.end("SIGKILL");
  await until(page, "client.state === 'waiting' && told.states.at(-1).code === 1006");
  await page.evaluate("void (window.sent = client.send({ receiver: 'alice', content: 'later' }, { timeoutMs: 20000 }))");
  await hub.run();
  await until(page, "client.state === 'online'");
  assert.equal(((await page.evaluate("sent")) as { status: string }).status, "delivered");
});

test("in Chromium SIGTERM is going_away and 1012, and the hint is the wait; a kick is the end", async (t) => {
  const [origin, hub] = await surroundings(t);
  const page = await tab(t, origin, { url: hub.url, userId: "alice" });
  await until(page, "client.state === 'online'");
  await hub.end("SIGTERM");
  await until(page, "told.states.some(({ code }) => code === 1012)");
  const [hint, wait] = (await page.evaluate(
    "[told.notices[0][1].retry_after_ms, told.states.find(({ code }) => code === 1012).retryInMs]",
  )) as [number, number];
  assert.equal(wait, hint);
  await hub.run();
  await until(page, "client.state === 'online'", 30_000);
  await hub.call("POST", "/v1/users/alice/kick", { reason: "spam", notify: true });
  await until(page, "client.state === 'closed' && told.states.at(-1).code === 4001");
  assert.deepEqual(await page.evaluate("told.notices.at(-1)[0]"), "kick_out");
});

test("in Chromium a network that goes silent is noticed by the client's own pings", async (t) => {
  const [origin, hub] = await surroundings(t, { WSC_PING_INTERVAL: "1s" });
  const network = await Proxy.to(t, () => hub.client);
  const page = await tab(t, origin, { url: network.url, userId: "alice" });
  await until(page, "client.state === 'online'");
  const begin = Date.now();
  network.stalled = true;
  await until(page, "client.state === 'waiting' && told.states.at(-1).error === 'connection_lost'");
  assert.ok(Date.now() - begin < 10_000, `${Date.now() - begin} ms`);
  network.stalled = false;
  await until(page, "client.state === 'online'");
});

test("in Chromium stored messages come in order and once over cut connections, and are acknowledged", async (t) => {
  const origin = await servePage(t);
  const hub = await ScriptedHub.start(t);
  const options = { url: hub.url, clientId: "tab", backoff: { initialMs: 10, maxMs: 20 }, ackDelayMs: 5 };
  const page = await tab(t, origin, options);
  await until(page, "client.state === 'online'");
  for (let number = 0; number < 200; number += 1) {
    hub.store(`n${number}`);
    if (number % 40 === 20) hub.cut();
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
  await until(page, "told.messages.length >= 200");
  const contents = await page.evaluate("told.messages.map(({ content }) => content)");
  assert.deepEqual(contents, Array.from({ length: 200 }, (_, number) => `n${number}`));
  const last = hub.text(hub.inbox.at(-1)!.offset);
  await until(page, `client.offset === '${last}'`);
  for (let look = 0; hub.text(hub.cursors.get("tab") ?? [0, 0]) !== last; look += 1) {
    assert.ok(look < 500, "not acknowledged");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.ok(hub.peers.length >= 5, String(hub.peers.length));
});
