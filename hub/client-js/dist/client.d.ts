import { WscError } from "./errors.js";
import type { GoingAway, KickOut, Message, OutgoingMessage, Result, ResumeGap, Welcome } from "./frames.js";
import { type ClientOptions } from "./options.js";
import { type SendOptions } from "./outbox.js";
/** `idle` before `connect()`, `waiting` between attempts, `closed` when there will be none. */
export type State = "idle" | "connecting" | "online" | "waiting" | "closed";
/** A change of the state. */
export interface StateChange {
    state: State;
    previous: State;
    /** Milliseconds until the next attempt, when `waiting`. */
    retryInMs?: number;
    /** Close code and reason of the connection that ended; 1006 when it ended without. */
    code?: number;
    reason?: string;
    /** Why an attempt failed or a connection was given up. */
    error?: WscError;
}
/** The events and what their handlers get. */
export interface ClientEvents {
    state: StateChange;
    welcome: Welcome;
    message: Message;
    resume_gap: ResumeGap;
    resume_done: Record<string, never>;
    going_away: GoingAway;
    kick_out: KickOut;
    /** A newer connection of the same device took this one's place; the client is closed. */
    replaced: StateChange;
    /** What went wrong and belongs to no call. */
    error: WscError;
}
/** A client of a wsc hub that connects again by itself. */
export declare class WscClient {
    #private;
    constructor(options: ClientOptions);
    get state(): State;
    /** The hub's last welcome: who one is, and on which node. */
    get welcome(): Welcome | undefined;
    /** All stored messages up to this offset are dealt with. */
    get offset(): string | undefined;
    /** Groups that are joined, and joined again after a reconnect. */
    get groups(): string[];
    /** Frames without an answer, those that wait to be written included. */
    get pending(): number;
    /** Adds a handler. Gives the function that takes it away. */
    on<Name extends keyof ClientEvents>(name: Name, handler: (event: ClientEvents[Name]) => unknown): () => void;
    /** Takes a handler away. */
    off<Name extends keyof ClientEvents>(name: Name, handler: (event: ClientEvents[Name]) => unknown): void;
    /** Connects, and again whenever the connection is lost. Resolves at the first welcome, rejects when closed before. */
    connect(): Promise<Welcome>;
    /** Ends the connection and all attempts; what waits for an answer is rejected. `connect()` may be called again. */
    close(): void;
    /** Sends to a user or a group. Resolves with what became of it; rejects with a {@link WscError}. */
    send(message: OutgoingMessage, options?: SendOptions): Promise<Result>;
    /** Joins a group, now and after each reconnect. */
    join(group: string, options?: SendOptions): Promise<Result>;
    /** Leaves a group. */
    leave(group: string, options?: SendOptions): Promise<Result>;
}
