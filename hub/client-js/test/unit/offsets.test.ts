import assert from "node:assert/strict";
import { test } from "node:test";
import { compareOffsets, parseOffset } from "../../src/offsets.js";

test("offsets compare as two numbers, never as text", () => {
  const sorted = ["e:9-0", "e:10-0", "e:10-2", "e:10-10", "e:1732356000000-0", "e:18446744073709551615-18446744073709551614"];
  for (const [place, text] of sorted.entries()) {
    for (const [other, second] of sorted.entries()) {
      const [a, b] = [parseOffset(text)!, parseOffset(second)!];
      assert.equal(compareOffsets(a, b), Math.sign(place - other), `${text} ${second}`);
    }
  }
});

test("an epoch may hold a colon, and what is no offset is none", () => {
  assert.equal(parseOffset("a:b:1-2")?.epoch, "a:b");
  for (const bad of ["", "e", "e:1", "e:1-", ":1-2", "e:1-2-3", "e:-1-2", "e:1-2 ", 7, undefined, null]) {
    assert.equal(parseOffset(bad), undefined, String(bad));
  }
});
