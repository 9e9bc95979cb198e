import type { BackoffLimits } from "./backoff.js";
import type { OutboxLimits } from "./outbox.js";
import { type Clock, type WebSocketConstructor } from "./platform.js";
/** Why a token is asked for. */
export type TokenReason = "connect" | "expiring";
/** Options of a client; only `url` is needed. */
export interface ClientOptions {
    /** Address of the hub's `/ws`: `ws:`, `wss:`, `http:` or `https:`. Its query is kept. */
    url: string | {
        readonly href: string;
    };
    /** The user, for hubs in mode `trusted` (development). */
    userId?: string;
    /** Gives a token, for hubs in mode `token`: asked at each connect and when the one in use is about to end. */
    getToken?: (reason: TokenReason) => string | Promise<string>;
    /** The device. Without one the hub keeps no place in the inbox, so nothing is delivered later. */
    clientId?: string;
    /** Groups to join. */
    groups?: Iterable<string>;
    /** What this device dealt with last, from an earlier life; the hub's own memory of it is usually enough. */
    offset?: string;
    /** `auto` (default): a message is acknowledged when its handlers are done. `manual`: when `message.ack()` is called. */
    acknowledge?: "auto" | "manual";
    /** Milliseconds for which acknowledgements are gathered; default 200. */
    ackDelayMs?: number;
    /** Stored messages that may wait for their acknowledgement; default 10,000. */
    maxUnacknowledged?: number;
    /** Milliseconds until a send without an answer is rejected; default 15,000. */
    sendTimeoutMs?: number;
    /** Milliseconds from an attempt to connect, token included, to the hub's welcome; default 10,000. */
    connectTimeoutMs?: number;
    /** Milliseconds after which a connection counts as one that lasted, so that back-off begins anew; default 5,000. */
    stableAfterMs?: number;
    /** Waits between attempts; default 1,000 doubling to 30,000, each with full jitter. */
    backoff?: Partial<BackoffLimits>;
    /** Bounds of what waits to be sent; default 256 messages, 1 MiB, 64 KiB each, 32 in flight, 40 per second. */
    outbox?: Partial<OutboxLimits>;
    /** The WebSocket to use; default the global one, which Node has from version 22 on. */
    WebSocket?: WebSocketConstructor;
    /** For tests. */
    clock?: Clock;
    /** For tests: from 0 to 1. */
    random?: () => number;
}
export declare const BACKOFF: BackoffLimits;
export declare const OUTBOX: OutboxLimits;
/** The hub's address with what this client asks for. */
export declare function address(options: ClientOptions, session: string | undefined, offset: string | undefined): string;
/** What is offered as subprotocols: the token travels there, since browsers cannot set headers. */
export declare function subprotocols(token: string | undefined): string[];
