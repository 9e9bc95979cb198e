import { type Offset } from "./offsets.js";
/** One message in the hands of the handlers. */
export interface Delivery {
    readonly offset: Offset | undefined;
    state: "running" | "done" | "failed";
    /** Answered once the message is dealt with. */
    readonly tokens: string[];
}
/** What to do with a message that came. */
export interface Verdict {
    /** To give to the handlers; absent when it was given before. */
    deliver?: Delivery;
    /** A token to answer at once, because the message was dealt with before. */
    token?: string;
    /** The oldest message that is no longer waited for, since too many were. */
    givenUp?: Offset;
}
/**
 * Which messages were seen and which were dealt with. Stored messages come in the order of their offsets; all up to
 * one of them can be acknowledged when it and those before it are done. One that failed is delivered again when it
 * comes again.
 */
export declare class Deliveries {
    #private;
    /** `after`: what was dealt with in an earlier life. */
    constructor(maxOpen: number, after?: string);
    /** The newest offset up to which everything is dealt with. */
    get handled(): string | undefined;
    /** From where to go on after a reconnect: what failed has to come again, what is being handled has not. */
    get resumeAfter(): string | undefined;
    /** A message came. */
    take(id: string | undefined, offsetText: string | undefined, token: string | undefined): Verdict;
    /** The handlers are done with a message. Gives the tokens to answer. */
    settle(delivery: Delivery, well: boolean): string[];
}
