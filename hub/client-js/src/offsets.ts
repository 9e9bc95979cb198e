/** A place in an inbox: `<epoch>:<milliseconds>-<number>`. */
export interface Offset {
  readonly text: string;
  readonly epoch: string;
  readonly ms: bigint;
  readonly number: bigint;
}

/** Reads an offset; nothing when the text is none. */
export function parseOffset(text: unknown): Offset | undefined {
  const parts = typeof text === "string" ? /^(.+):([0-9]+)-([0-9]+)$/.exec(text) : null;
  if (!parts) return undefined;
  return { text: parts[0], epoch: parts[1]!, ms: BigInt(parts[2]!), number: BigInt(parts[3]!) };
}

/** Below 0 when `a` comes before `b` in the same epoch. As two numbers: as text, 10 would come before 9. */
export function compareOffsets(a: Offset, b: Offset): number {
  const difference = a.ms === b.ms ? a.number - b.number : a.ms - b.ms;
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}
