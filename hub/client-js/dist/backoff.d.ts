/** How an end of a connection is followed up. */
export type Verdict = 
/** Not connected again by itself. */
"stop"
/** At once, then with back-off. */
 | "now"
/** With back-off. */
 | "back-off"
/** The client itself did something wrong: after a long wait, so that it is not repeated in a loop. */
 | "long-wait";
/** What a close code asks for. `renewable`: there is a callback that gives a new token. */
export declare function verdict(code: number, renewable: boolean): Verdict;
/** The limits of the wait before a new attempt, in milliseconds. */
export interface BackoffLimits {
    /** The largest wait before the second attempt; doubles with each further one. */
    initialMs: number;
    /** No wait is longer, unless the hub asks for more. */
    maxMs: number;
}
/** What the wait depends on. */
export interface Attempt {
    verdict: Exclude<Verdict, "stop">;
    /** Attempts that failed, or connections that did not last, since the last one that did. */
    failures: number;
    /** `retry_after_ms` of `going_away`: spread by the hub already. */
    hintMs?: number | undefined;
    /** `Retry-After` of a refusal: the same for everybody, so the jitter is added to it. */
    retryAfterMs?: number | undefined;
}
/** Milliseconds until the next attempt; `random` is from 0 to 1. */
export declare function waitMs(attempt: Attempt, limits: BackoffLimits, random: number): number;
