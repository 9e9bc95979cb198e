import { WscError } from "./errors.js";
import type { Result } from "./frames.js";
import { type Clock } from "./platform.js";
/** Bounds of what waits to be sent. */
export interface OutboxLimits {
    /** Frames that may wait to be written. */
    maxMessages: number;
    /** Their bytes together. */
    maxBytes: number;
    /** Largest frame in bytes; the hub closes a connection that sends more than its own limit. */
    maxMessageBytes: number;
    /** Frames that may be on their way without an answer; the hub refuses more than 64 by default. */
    maxInFlight: number;
    /** Frames per second that are written in the long run, and twice as many at once; the hub refuses more than 50 by default. */
    perSecond: number;
}
/** How one frame is sent. */
export interface SendOptions {
    /** Milliseconds until the promise is rejected; default the client's `sendTimeoutMs`. */
    timeoutMs?: number;
    /**
     * Whether the frame, with the same message_id, is written again after a connection was lost before its answer. The hub
     * delivers it twice if the new connection is to another node or comes more than a minute later.
     */
    resend?: boolean;
}
/** Frames with a message_id, from `add` to their answer: first they wait to be written, then for the answer. */
export declare class Outbox {
    #private;
    /** `write` puts a frame on the wire and gives false when it cannot. */
    constructor(limits: OutboxLimits, clock: Clock, write: (text: string) => boolean);
    /** Frames without an answer. */
    get size(): number;
    /** Frames that were not written yet. */
    get waiting(): number;
    /** Takes a frame. `first`: ahead of all others, and whatever the bounds. */
    add(messageId: string, text: string, options: Required<SendOptions>, first?: boolean): Promise<Result>;
    /** Writes what may be written now. */
    pump(): void;
    /** An answer came; false when nobody waits for it. */
    answer(messageId: string, outcome: Result | WscError): boolean;
    /** The connection is gone: what was written and not answered is given up, or written again, each as it was asked for. */
    connectionLost(): void;
    /** Rejects everything. */
    clear(why: string): void;
}
