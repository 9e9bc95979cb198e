import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import type { Browser, Page } from "playwright-core";
import { launch, open, until } from "../harness/browser.js";
import { Hub } from "../harness/hub.js";

const DEV_KEY = "dev-only-key-do-not-use-in-production";

let browser: Browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const devHub = (t: TestContext) => Hub.start(t, {}, ["--dev"]);

async function chatter(t: TestContext, hub: Hub, name: string) {
  const page = await open(t, browser, `http://${hub.client}/`);
  await page.fill("#name", name);
  await page.click("#toggle");
  await until(page, "document.querySelector('#state').dataset.state === 'online'");
  return page;
}

async function say(page: Page, kind: "room" | "user", target: string, text: string): Promise<void> {
  await page.selectOption("#kind", { label: kind });
  await page.fill("#target", target);
  await page.fill("#text", text);
  await page.click("#send button");
}

/** Lines of one kind, as text. */
const lines = (page: Page, kind: string) =>
  page.evaluate(`[...document.querySelectorAll('#log .${kind}')].map((line) => line.innerText)`) as Promise<string[]>;

test("two people chat on the page of a hub with --dev: in a room, to a user, and the outcome is shown", async (t) => {
  const hub = await devHub(t);
  const [alice, bob] = [await chatter(t, hub, "alice"), await chatter(t, hub, "bob")];
  for (const page of [alice, bob]) {
    await page.fill("#room", "kitchen");
    await page.click("#rooms button");
    await until(page, "document.querySelector('#log').innerText.includes('joined kitchen')");
  }
  await say(alice, "room", "kitchen", "is there coffee?");
  await until(bob, "document.querySelectorAll('#log .message').length === 1");
  assert.match((await lines(bob, "message"))[0]!, /alice.*in kitchen.*is there coffee\?/);
  await say(bob, "user", "alice", "always");
  await until(alice, "document.querySelectorAll('#log .message').length === 1");
  assert.match((await lines(alice, "message"))[0]!, /bob.*to you.*always/);
  await until(bob, "document.querySelector('#log .own').innerText.includes('delivered, connections: 1')");
  await say(bob, "user", "nobody", "hello?");
  await until(bob, "document.querySelector('#log').innerText.includes('offline')");
  assert.match(await alice.innerText("#state"), /^online on /);
  assert.deepEqual([...alice.complaints, ...bob.complaints], [], "nothing was forbidden by the page's policy");
});

test("what others write is text: markup of theirs does nothing", async (t) => {
  const hub = await devHub(t);
  const [alice, bob] = [await chatter(t, hub, "alice"), await chatter(t, hub, "bob")];
  const attack = "<img src=x onerror=\"window.owned=1\"><script>window.owned=1</script>";
  await say(bob, "user", "alice", attack);
  await until(alice, "document.querySelectorAll('#log .message').length === 1");
  assert.ok((await lines(alice, "message"))[0]!.includes(attack));
  const found = await alice.evaluate("[document.querySelectorAll('#log img, #log script').length, window.owned ?? null]");
  assert.deepEqual(found, [0, null]);
  // Even when it got into the page, the policy would not let it run.
  await alice.evaluate(`{
    const script = document.createElement("script");
    script.textContent = "window.owned = 2";
    document.body.append(script);
  }`);
  assert.equal(await alice.evaluate("window.owned ?? null"), null);
});

test("the page shows that the hub is away, that it is back, and a kick", async (t) => {
  const hub = await devHub(t);
  const alice = await chatter(t, hub, "alice");
  await hub.end("SIGKILL");
  await until(alice, "document.querySelector('#state').innerText.startsWith('waiting, again in')");
  await hub.run();
  await until(alice, "document.querySelector('#state').dataset.connects === '2'", 40_000);
  assert.ok((await lines(alice, "notice")).includes("connected again"));
  const answer = await fetch(`http://${hub.api}/v1/users/alice/kick`, {
    method: "POST",
    headers: { authorization: `Bearer ${DEV_KEY}` },
    body: JSON.stringify({ reason: "that is enough", notify: true }),
  });
  assert.equal(answer.status, 200);
  await until(alice, "document.querySelector('#state').dataset.state === 'closed'");
  const notices = (await lines(alice, "notice")).join("\n");
  assert.match(notices, /kicked: .*that is enough/);
  assert.match(notices, /closed: code 4001/);
  await alice.click("#toggle");
  await until(alice, "document.querySelector('#state').dataset.state === 'online'");
});
