/** A place in an inbox: `<epoch>:<milliseconds>-<number>`. */
export interface Offset {
    readonly text: string;
    readonly epoch: string;
    readonly ms: bigint;
    readonly number: bigint;
}
/** Reads an offset; nothing when the text is none. */
export declare function parseOffset(text: unknown): Offset | undefined;
/** Below 0 when `a` comes before `b` in the same epoch. As two numbers: as text, 10 would come before 9. */
export declare function compareOffsets(a: Offset, b: Offset): number;
