/** Reads an offset; nothing when the text is none. */
export function parseOffset(text) {
    const parts = typeof text === "string" ? /^(.+):([0-9]+)-([0-9]+)$/.exec(text) : null;
    if (!parts)
        return undefined;
    return { text: parts[0], epoch: parts[1], ms: BigInt(parts[2]), number: BigInt(parts[3]) };
}
/** Below 0 when `a` comes before `b` in the same epoch. As two numbers: as text, 10 would come before 9. */
export function compareOffsets(a, b) {
    const difference = a.ms === b.ms ? a.number - b.number : a.ms - b.ms;
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}
