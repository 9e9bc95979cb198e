import assert from "node:assert/strict";
import { test } from "node:test";
import { refusal } from "../../src/refusal.js";

test("a refusal gives status, code and Retry-After of the hub", () => {
  const body = JSON.stringify({ code: "draining", detail: "the node is draining" });
  const error = refusal(503, "3", body);
  assert.deepEqual([error.code, error.status, error.retryAfterMs], ["draining", 503, 3000]);
  assert.match(error.message, /503: the node is draining/);
});

test("what a proxy answers is no more than that there is no connection", () => {
  for (const body of ["<html>", "", "null", "[]", '{"code":7}']) {
    const error = refusal(502, "Fri, 07 Nov 2031 23:59:59 GMT", body);
    assert.deepEqual([error.code, error.status, error.retryAfterMs], ["no_connection", 502, undefined], body);
  }
});
