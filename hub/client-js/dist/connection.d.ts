import { WscError } from "./errors.js";
import { type Frame, type Welcome } from "./frames.js";
import type { Clock, WebSocketConstructor } from "./platform.js";
/** How a connection ended. */
export interface End {
    /** The close code; 1006 when there was none. */
    code: number;
    reason: string;
    /** How long the hub asked to wait, from `going_away`. */
    hintMs?: number;
    /** Why it never opened, or was given up. */
    error?: WscError;
}
/** Who is told what happens; `ended` is the last call, and comes once. */
export interface ConnectionListener {
    welcome(frame: Welcome): void;
    frame(frame: Frame): void;
    ended(end: End): void;
}
/** One WebSocket, from the attempt to its end, watched with pings. */
export declare class Connection {
    #private;
    /** Throws what the constructor of the WebSocket throws, such as for a URL that is none. */
    constructor(url: string, protocols: string[], WebSocket: WebSocketConstructor, clock: Clock, listener: ConnectionListener);
    /** Writes a frame; false when the connection does not take any (more). */
    write(text: string): boolean;
    /** Closes in order, with 1000; `ended` is not called. */
    close(): void;
    /** Gives the connection up at once. */
    abandon(error: WscError): void;
    /** Looks whether the connection lives, for example after the machine slept. */
    probe(): void;
}
