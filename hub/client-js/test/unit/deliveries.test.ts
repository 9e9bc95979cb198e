import assert from "node:assert/strict";
import { test } from "node:test";
import { Deliveries } from "../../src/deliveries.js";

const stored = (deliveries: Deliveries, offset: string) => deliveries.take(undefined, offset, undefined);

test("a stored message that was seen is dropped, by its offset as numbers", () => {
  const deliveries = new Deliveries(100);
  assert.ok(stored(deliveries, "e:9-0").deliver);
  assert.ok(stored(deliveries, "e:10-0").deliver);
  for (const again of ["e:9-0", "e:10-0", "e:8-99"]) assert.equal(stored(deliveries, again).deliver, undefined, again);
  assert.ok(stored(deliveries, "e:10-1").deliver);
});

test("acknowledgement is cumulative: it waits for the slowest before it", () => {
  const deliveries = new Deliveries(100);
  const [one, two, three] = ["e:1-0", "e:2-0", "e:3-0"].map((offset) => stored(deliveries, offset).deliver!);
  deliveries.settle(two!, true);
  assert.equal(deliveries.handled, undefined);
  deliveries.settle(one!, true);
  assert.equal(deliveries.handled, "e:2-0");
  deliveries.settle(three!, true);
  assert.equal(deliveries.handled, "e:3-0");
});

test("a message whose handler failed holds the acknowledgement and is delivered again, its neighbours are not", () => {
  const deliveries = new Deliveries(100);
  const [one, two, three] = ["e:1-0", "e:2-0", "e:3-0"].map((offset) => stored(deliveries, offset).deliver!);
  deliveries.settle(one!, true);
  deliveries.settle(two!, false);
  deliveries.settle(three!, true);
  assert.equal(deliveries.handled, "e:1-0");
  assert.equal(deliveries.resumeAfter, "e:1-0", "the failed one has to come again");
  assert.equal(stored(deliveries, "e:1-0").deliver, undefined);
  const again = stored(deliveries, "e:2-0").deliver;
  assert.equal(again, two);
  assert.equal(stored(deliveries, "e:3-0").deliver, undefined);
  assert.equal(deliveries.resumeAfter, "e:3-0", "what runs is in good hands");
  deliveries.settle(again!, true);
  assert.equal(deliveries.handled, "e:3-0");
});

test("another epoch is another inbox", () => {
  const deliveries = new Deliveries(100);
  const old = stored(deliveries, "e1:900-0").deliver!;
  assert.ok(stored(deliveries, "e2:5-0").deliver, "smaller, but of another epoch");
  deliveries.settle(old, true);
  assert.equal(deliveries.handled, undefined, "an offset of the old epoch acknowledges nothing");
  assert.equal(deliveries.resumeAfter, "e2:5-0");
});

test("too many open messages: the oldest is given up, and said so", () => {
  const deliveries = new Deliveries(3);
  const taken = [1, 2, 3, 4].map((number) => stored(deliveries, `e:${number}-0`));
  assert.equal(taken[2]!.givenUp, undefined);
  assert.equal(taken[3]!.givenUp?.text, "e:1-0");
  assert.equal(deliveries.handled, "e:1-0");
  deliveries.settle(taken[1]!.deliver!, true);
  assert.equal(deliveries.handled, "e:2-0");
});

test("a live message that is repeated is dropped by its id, and its token is answered once it was dealt with", () => {
  const deliveries = new Deliveries(100);
  const { deliver } = deliveries.take("01A", undefined, "t1");
  assert.deepEqual(deliveries.take("01A", undefined, "t2"), {});
  assert.deepEqual(deliveries.settle(deliver!, true), ["t1", "t2"]);
  assert.deepEqual(deliveries.take("01A", undefined, "t3"), { token: "t3" });
  assert.deepEqual(deliveries.settle(deliver!, true), [], "once");
});

test("a live message whose handler failed is not acknowledged and is delivered when it is repeated", () => {
  const deliveries = new Deliveries(100);
  const { deliver } = deliveries.take("01A", undefined, "t1");
  assert.deepEqual(deliveries.settle(deliver!, false), []);
  assert.equal(deliveries.take("01A", undefined, "t2").deliver, deliver);
});

test("ids are remembered for the newest 1,024 live messages only", () => {
  const deliveries = new Deliveries(100);
  for (let number = 0; number <= 1024; number += 1) assert.ok(deliveries.take(`id${number}`, undefined, undefined).deliver);
  assert.equal(deliveries.take("id1", undefined, undefined).deliver, undefined);
  assert.ok(deliveries.take("id0", undefined, undefined).deliver, "the oldest is forgotten");
});

test("an offset of an earlier life is where it goes on", () => {
  const deliveries = new Deliveries(100, "e:5-0");
  assert.equal(deliveries.resumeAfter, "e:5-0");
  assert.equal(stored(deliveries, "e:5-0").deliver, undefined);
  assert.ok(stored(deliveries, "e:6-0").deliver);
});
