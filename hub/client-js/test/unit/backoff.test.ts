import assert from "node:assert/strict";
import { test } from "node:test";
import { verdict, waitMs, type Verdict } from "../../src/backoff.js";
import { BACKOFF } from "../../src/options.js";

test("each close code of the protocol decides whether to connect again", () => {
  const table: [code: number, withToken: Verdict, without: Verdict][] = [
    [1000, "stop", "stop"],
    [1001, "back-off", "back-off"],
    [1002, "long-wait", "long-wait"],
    [1003, "long-wait", "long-wait"],
    [1005, "back-off", "back-off"],
    [1006, "back-off", "back-off"],
    [1007, "long-wait", "long-wait"],
    [1008, "long-wait", "long-wait"],
    [1009, "long-wait", "long-wait"],
    [1011, "back-off", "back-off"],
    [1012, "back-off", "back-off"],
    [1013, "back-off", "back-off"],
    [4001, "stop", "stop"],
    [4002, "stop", "stop"],
    [4003, "now", "stop"],
    [4004, "back-off", "back-off"],
    [4005, "back-off", "back-off"],
    [4999, "back-off", "back-off"],
  ];
  for (const [code, withToken, without] of table) {
    assert.equal(verdict(code, true), withToken, `${code} with a token`);
    assert.equal(verdict(code, false), without, `${code} without`);
  }
});

test("waits double from one second to thirty, each with full jitter", () => {
  const wait = (failures: number, random: number) => waitMs({ verdict: "back-off", failures }, BACKOFF, random);
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 60, 2000].map((failures) => wait(failures, 1)), [
    1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000,
  ]);
  assert.equal(wait(4, 0), 0);
  assert.equal(wait(4, 0.25), 4000);
});

test("the hub's hint is the wait, and back-off is added when it did not help", () => {
  const wait = (failures: number) => waitMs({ verdict: "back-off", failures, hintMs: 840 }, BACKOFF, 0.5);
  assert.equal(wait(0), 840);
  assert.equal(wait(1), 840 + 1000);
});

test("Retry-After is the least wait, with jitter on top because all get the same", () => {
  const wait = (random: number) => waitMs({ verdict: "back-off", failures: 1, retryAfterMs: 5000 }, BACKOFF, random);
  assert.equal(wait(0), 5000);
  assert.equal(wait(1), 7000);
});

test("a token that ended is replaced at once, a second time with back-off", () => {
  assert.equal(waitMs({ verdict: "now", failures: 0 }, BACKOFF, 0.9), 0);
  assert.equal(waitMs({ verdict: "now", failures: 2 }, BACKOFF, 0.5), 2000);
});

test("after a fault of the client itself the wait is long whatever the chance", () => {
  assert.equal(waitMs({ verdict: "long-wait", failures: 0 }, BACKOFF, 0), 15_000);
  assert.equal(waitMs({ verdict: "long-wait", failures: 0 }, BACKOFF, 1), 30_000);
});
