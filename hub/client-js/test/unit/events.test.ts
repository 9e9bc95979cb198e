import assert from "node:assert/strict";
import { test } from "node:test";
import { Emitter } from "../../src/events.js";

test("handlers are called in order, at once, and taken away again", async () => {
  const emitter = new Emitter<{ tick: number }>();
  const calls: string[] = [];
  const first = emitter.on("tick", (tick) => calls.push(`first ${tick}`));
  emitter.on("tick", (tick) => calls.push(`second ${tick}`));
  void emitter.call("tick", 1);
  assert.deepEqual(calls, ["first 1", "second 1"]);
  first();
  await emitter.call("tick", 2);
  assert.deepEqual(calls.slice(2), ["second 2"]);
});

test("a call ends when the slowest handler does, and fails with what one threw, the others called all the same", async () => {
  const emitter = new Emitter<{ tick: number }>();
  let slow = false;
  const off = emitter.on("tick", async () => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    slow = true;
  });
  await emitter.call("tick", 1);
  assert.equal(slow, true);
  off();
  let called = false;
  emitter.on("tick", () => {
    throw new Error("sync");
  });
  emitter.on("tick", () => (called = true));
  await assert.rejects(emitter.call("tick", 2), /sync/);
  assert.equal(called, true);
});
