import assert from "node:assert/strict";
import { test } from "node:test";
import { WscError, type OutboxLimits } from "../../src/index.js";
import { OUTBOX } from "../../src/options.js";
import { Outbox } from "../../src/outbox.js";
import { FakeClock, settle } from "../harness/fake-clock.js";

class Wire {
  readonly clock = new FakeClock();
  readonly written: string[] = [];
  open = false;
  readonly outbox: Outbox;

  constructor(limits: Partial<OutboxLimits> = {}) {
    this.outbox = new Outbox({ ...OUTBOX, ...limits }, this.clock, (text) => this.open && this.written.push(text) > 0);
  }

  add(id: string, text = id, resend = false): Promise<unknown> {
    return this.outbox.add(id, text, { timeoutMs: 1000, resend }).catch((error: unknown) => error);
  }
}

const answer = (message_id: string) => ({ message_id, status: "delivered" as const });

function failed(error: unknown, code: string, mayHaveArrived: boolean): void {
  assert.ok(error instanceof WscError, String(error));
  assert.deepEqual([error.code, error.mayHaveArrived], [code, mayHaveArrived], error.message);
}

test("what waits while there is no connection is written in order, and answers find their frame", async () => {
  const wire = new Wire();
  const results = ["a", "b", "c"].map((id) => wire.add(id));
  assert.deepEqual(wire.written, []);
  wire.open = true;
  wire.outbox.pump();
  assert.deepEqual(wire.written, ["a", "b", "c"]);
  for (const id of ["c", "a", "b"]) assert.equal(wire.outbox.answer(id, answer(id)), true);
  assert.equal(wire.outbox.answer("a", answer("a")), false, "answered once");
  assert.deepEqual(await Promise.all(results), ["a", "b", "c"].map(answer));
  assert.deepEqual([wire.outbox.size, wire.clock.timers], [0, 0]);
});

test("a full outbox rejects at once: by messages and by bytes of UTF-8", async () => {
  const messages = new Wire({ maxMessages: 2 });
  void messages.add("a");
  void messages.add("b");
  failed(await messages.add("c"), "outbox_full", false);
  const bytes = new Wire({ maxBytes: 10 });
  void bytes.add("a", "12345678");
  failed(await bytes.add("b", "ü2"), "outbox_full", false);
  void bytes.add("c", "12");
  assert.equal(bytes.outbox.waiting, 2);
});

test("a frame over the hub's limit and an id that is on its way are refused", async () => {
  const wire = new Wire({ maxMessageBytes: 4 });
  failed(await wire.add("a", "12ü4"), "too_large", false);
  void wire.add("b", "1234");
  failed(await wire.add("b"), "duplicate_message_id", false);
});

test("no more frames are in flight than the hub takes, and an answer lets the next one go", async () => {
  const wire = new Wire({ maxInFlight: 2 });
  wire.open = true;
  for (const id of ["a", "b", "c"]) void wire.add(id);
  assert.deepEqual(wire.written, ["a", "b"]);
  wire.outbox.answer("a", answer("a"));
  assert.deepEqual(wire.written, ["a", "b", "c"]);
});

test("frames are paced: twice the rate at once, then the rate", async () => {
  const wire = new Wire({ perSecond: 10, maxInFlight: 1000 });
  wire.open = true;
  for (let number = 0; number < 40; number += 1) void wire.add(`m${number}`);
  assert.equal(wire.written.length, 20);
  await wire.clock.advance(500);
  assert.equal(wire.written.length, 25);
  const free = new Wire({ perSecond: Infinity, maxInFlight: 1000 });
  free.open = true;
  for (let number = 0; number < 500; number += 1) void free.add(`m${number}`);
  assert.equal(free.written.length, 500);
});

test("a time-out says whether the frame may have arrived, and what was not written never is", async () => {
  const wire = new Wire();
  const never = wire.add("a");
  await wire.clock.advance(999);
  assert.equal(wire.outbox.size, 1);
  await wire.clock.advance(1);
  failed(await never, "timeout", false);
  wire.open = true;
  const written = wire.add("b");
  assert.deepEqual(wire.written, ["b"]);
  await wire.clock.advance(1000);
  failed(await written, "timeout", true);
  assert.equal(wire.outbox.answer("b", answer("b")), false);
});

test("a lost connection: unwritten frames stay, written ones are rejected or, when asked for, written again", async () => {
  const wire = new Wire({ maxInFlight: 2 });
  wire.open = true;
  const [lost, again, waiting] = [wire.add("lost"), wire.add("again", "again", true), wire.add("waiting")];
  wire.open = false;
  wire.outbox.connectionLost();
  failed(await lost, "connection_lost", true);
  assert.equal(wire.outbox.waiting, 2);
  wire.open = true;
  wire.outbox.pump();
  assert.deepEqual(wire.written, ["lost", "again", "again", "waiting"]);
  wire.outbox.answer("again", answer("again"));
  wire.outbox.answer("waiting", answer("waiting"));
  assert.deepEqual(await Promise.all([again, waiting]), [answer("again"), answer("waiting")]);
});

test("an error of the hub rejects with its code", async () => {
  const wire = new Wire();
  wire.open = true;
  const refused = wire.add("a");
  wire.outbox.answer("a", new WscError("not_permitted", "no"));
  failed(await refused, "not_permitted", false);
  const again = wire.add("b", "b", true);
  wire.outbox.connectionLost();
  wire.outbox.pump();
  wire.outbox.answer("b", new WscError("rate_limited", "too many"));
  failed(await again, "rate_limited", true);
});

test("clearing rejects everything and leaves no timer", async () => {
  const wire = new Wire({ maxInFlight: 1, perSecond: 1 });
  wire.open = true;
  const all = ["a", "b", "c"].map((id) => wire.add(id));
  wire.outbox.clear("over");
  await settle();
  failed(await all[0], "closed", true);
  failed(await all[2], "closed", false);
  assert.equal(wire.clock.timers, 0);
});
