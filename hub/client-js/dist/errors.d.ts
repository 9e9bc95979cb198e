/** Stable codes of what the hub refuses. */
export type HubErrorCode = "bad_request" | "invalid_user_id" | "invalid_token" | "token_expired" | "not_permitted" | "origin_not_allowed" | "banned" | "not_found" | "payload_too_large" | "too_many_connections" | "rate_limited" | "draining" | "starting" | "node_full" | "overloaded" | "registry_unavailable" | "internal";
/**
 * Codes of the library itself:
 * - `closed`: the client is closed, by `close()` or because the hub said so;
 * - `connection_lost`: the frame was written, the connection ended before its answer;
 * - `timeout`: no answer in time;
 * - `outbox_full`, `too_large`, `duplicate_message_id`: refused here, never sent;
 * - `no_connection`: an attempt to connect failed;
 * - `token_failed`: `getToken` failed;
 * - `handler_failed`: a handler threw or rejected;
 * - `unacknowledged`: too many messages wait for an acknowledgement, the oldest is no longer waited for;
 * - `invalid_frame`: what came is no frame of this protocol.
 */
export type ClientErrorCode = "closed" | "connection_lost" | "timeout" | "outbox_full" | "too_large" | "duplicate_message_id" | "no_connection" | "token_failed" | "handler_failed" | "unacknowledged" | "invalid_frame";
/** More about an error. */
export interface ErrorDetails {
    /** Whether the frame was written, so that it may have reached its receivers. */
    mayHaveArrived?: boolean;
    /** The group of a join that failed. */
    group?: string;
    /** HTTP status of a refused connect, where the platform shows it (the package `ws` does, browsers do not). */
    status?: number;
    /** How long the hub asks to wait, in milliseconds (`Retry-After`), where the platform shows it. */
    retryAfterMs?: number;
    /** What the error comes from. */
    cause?: unknown;
}
/** Every error of this library. */
export declare class WscError extends Error {
    /** The stable word for it. */
    readonly code: ClientErrorCode | HubErrorCode;
    /** Whether the frame was written: if so, it may have arrived although this error says that it failed. */
    readonly mayHaveArrived: boolean;
    readonly group: string | undefined;
    readonly status: number | undefined;
    readonly retryAfterMs: number | undefined;
    constructor(code: ClientErrorCode | HubErrorCode, message: string, details?: ErrorDetails);
}
