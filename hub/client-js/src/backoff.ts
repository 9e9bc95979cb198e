/** How an end of a connection is followed up. */
export type Verdict =
  /** Not connected again by itself. */
  | "stop"
  /** At once, then with back-off. */
  | "now"
  /** With back-off. */
  | "back-off"
  /** The client itself did something wrong: after a long wait, so that it is not repeated in a loop. */
  | "long-wait";

/** What a close code asks for. `renewable`: there is a callback that gives a new token. */
export function verdict(code: number, renewable: boolean): Verdict {
  switch (code) {
    case 1000: // closed by the client
    case 4001: // kicked
    case 4002: // replaced by a newer connection
      return "stop";
    case 4003: // the token ended or was revoked
      return renewable ? "now" : "stop";
    case 1002: // framing
    case 1003: // binary
    case 1007: // not UTF-8
    case 1008: // bad frames, policy
    case 1009: // too big
      return "long-wait";
    default: // 1006, 1012, 1013, 4004, 4005, and what proxies say
      return "back-off";
  }
}

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
export function waitMs(attempt: Attempt, limits: BackoffLimits, random: number): number {
  const { failures, hintMs, retryAfterMs = 0 } = attempt;
  if (attempt.verdict === "long-wait") return limits.maxMs * (0.5 + random / 2);
  const fullJitter = random * Math.min(limits.maxMs, limits.initialMs * 2 ** failures);
  if (failures === 0 && (hintMs !== undefined || attempt.verdict === "now")) return hintMs ?? 0;
  return (hintMs ?? retryAfterMs) + fullJitter;
}
