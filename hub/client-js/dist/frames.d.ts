import type { HubErrorCode } from "./errors.js";
/** The first frame of a connection. */
export interface Welcome {
    connection_id: string;
    client_id: string;
    user_id: string;
    node_id: string;
    /** Whether the session of the connection before goes on: its groups, and its place in the inbox. */
    resumed: boolean;
    ping_interval_ms: number;
    session?: string;
}
/** A message as it arrives; names as on the wire. */
export interface Message<Data = unknown> {
    /** A word of the sender's choice, `text` by default. */
    message_type: string;
    /** The hub's id, a ULID. */
    id: string;
    message_id?: string;
    /** Who sent it; absent when the backend did. */
    sender?: string;
    receiver?: string;
    group?: string;
    content?: string;
    data?: Data;
    /** RFC 3339 with milliseconds. */
    create_at: string;
    /** Its place in the inbox; only stored messages have one. */
    offset?: string;
    /** With `acknowledge: "manual"`: the message was dealt with. Otherwise done by the library, and of no effect. */
    ack(): void;
}
/** What to send: to a user, or to a group. */
export type OutgoingMessage = {
    content?: string;
    data?: unknown;
    /** A word of your choice, `[a-z0-9_.-]{1,32}`; default `text`. */
    message_type?: string;
    /** `[A-Za-z0-9._:-]{1,64}`; default a random one. */
    message_id?: string;
} & ({
    receiver: string;
    group?: never;
} | {
    group: string;
    receiver?: never;
});
/** What became of a frame. A truthful "no", such as `offline`, is a result and no error. */
export interface Result {
    message_id: string;
    /** Users: `delivered`, `offline`, `unknown`, `partial`, `failed`. Groups, joins, leaves: `complete`, `partial`. */
    status: "accepted" | "delivered" | "acked" | "stored" | "offline" | "unknown" | "partial" | "failed" | "complete" | "renewed";
    id?: string;
    connections?: number;
    nodes_expected?: number;
    nodes_answered?: number;
    /** The same message_id was sent before; this is the first result. */
    duplicate?: boolean;
    group?: string;
    error?: {
        code: string;
        detail?: string;
    };
}
/** `kick_out`: a notice before the connection is closed for good. */
export interface KickOut {
    content?: string;
    data?: {
        reason?: string;
        banned_until?: string;
    };
}
/** `going_away`: the node closes this connection soon. */
export interface GoingAway {
    data?: {
        reason?: string;
        retry_after_ms?: number;
    };
}
/** `resume_gap`: stored messages between these offsets are lost. */
export interface ResumeGap {
    data?: {
        from?: string;
        to?: string;
    };
}
/** `error`: why a frame was not acted on. */
export interface ErrorFrame {
    message_id?: string;
    code: HubErrorCode;
    content?: string;
}
/** Any frame, before its type is looked at. */
export type Frame = {
    message_type: string;
} & Record<string, unknown>;
/** Reads a frame; nothing when it is none. */
export declare function parseFrame(text: unknown): Frame | undefined;
