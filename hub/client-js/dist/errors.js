/** Every error of this library. */
export class WscError extends Error {
    /** The stable word for it. */
    code;
    /** Whether the frame was written: if so, it may have arrived although this error says that it failed. */
    mayHaveArrived;
    group;
    status;
    retryAfterMs;
    constructor(code, message, details = {}) {
        super(message, details.cause === undefined ? undefined : { cause: details.cause });
        this.name = "WscError";
        this.code = code;
        this.mayHaveArrived = details.mayHaveArrived ?? false;
        this.group = details.group;
        this.status = details.status;
        this.retryAfterMs = details.retryAfterMs;
    }
}
