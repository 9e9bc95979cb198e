/** What a close code asks for. `renewable`: there is a callback that gives a new token. */
export function verdict(code, renewable) {
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
/** Milliseconds until the next attempt; `random` is from 0 to 1. */
export function waitMs(attempt, limits, random) {
    const { failures, hintMs, retryAfterMs = 0 } = attempt;
    if (attempt.verdict === "long-wait")
        return limits.maxMs * (0.5 + random / 2);
    const fullJitter = random * Math.min(limits.maxMs, limits.initialMs * 2 ** failures);
    if (failures === 0 && (hintMs !== undefined || attempt.verdict === "now"))
        return hintMs ?? 0;
    return (hintMs ?? retryAfterMs) + fullJitter;
}
