import { WscError } from "./errors.js";
import { utf8Length } from "./platform.js";
/** Frames with a message_id, from `add` to their answer: first they wait to be written, then for the answer. */
export class Outbox {
    #limits;
    #clock;
    #write;
    #waiting = [];
    #waitingBytes = 0;
    #inFlight = new Map();
    /** Frames that may be written at once; grows by `perSecond`. */
    #credit;
    #creditAt;
    #pause;
    /** `write` puts a frame on the wire and gives false when it cannot. */
    constructor(limits, clock, write) {
        this.#limits = limits;
        this.#clock = clock;
        this.#write = write;
        this.#credit = limits.perSecond * 2;
        this.#creditAt = clock.now();
    }
    /** Frames without an answer. */
    get size() {
        return this.#waiting.length + this.#inFlight.size;
    }
    /** Frames that were not written yet. */
    get waiting() {
        return this.#waiting.length;
    }
    /** Takes a frame. `first`: ahead of all others, and whatever the bounds. */
    add(messageId, text, options, first = false) {
        return new Promise((resolve, reject) => {
            const { maxMessages, maxBytes, maxMessageBytes } = this.#limits;
            const bytes = utf8Length(text);
            const refuse = (code, message) => reject(new WscError(code, message));
            if (bytes > maxMessageBytes)
                return refuse("too_large", `the frame has ${bytes} bytes, ${maxMessageBytes} are allowed`);
            if (this.#inFlight.has(messageId) || this.#waiting.some((entry) => entry.messageId === messageId)) {
                return refuse("duplicate_message_id", `${messageId} is on its way already`);
            }
            if (!first && (this.#waiting.length >= maxMessages || this.#waitingBytes + bytes > maxBytes)) {
                return refuse("outbox_full", `${this.#waiting.length} frames of ${this.#waitingBytes} bytes wait already`);
            }
            const fresh = { written: false, repeated: false, timer: undefined };
            const entry = { messageId, text, bytes, resend: options.resend, ...fresh, resolve, reject };
            entry.timer = this.#clock.setTimeout(() => this.#timeOut(entry, options.timeoutMs), options.timeoutMs);
            this.#waitingBytes += bytes;
            if (first)
                this.#waiting.unshift(entry);
            else
                this.#waiting.push(entry);
            this.pump();
        });
    }
    /** Writes what may be written now. */
    pump() {
        while (this.#waiting.length > 0 && this.#inFlight.size < this.#limits.maxInFlight && this.#hasCredit()) {
            const entry = this.#waiting[0];
            if (!this.#write(entry.text))
                return;
            this.#waiting.shift();
            this.#waitingBytes -= entry.bytes;
            this.#credit -= 1;
            entry.written = true;
            this.#inFlight.set(entry.messageId, entry);
        }
    }
    /** An answer came; false when nobody waits for it. */
    answer(messageId, outcome) {
        const entry = this.#inFlight.get(messageId);
        if (!entry)
            return false;
        this.#inFlight.delete(messageId);
        this.#clock.clearTimeout(entry.timer);
        if (!(outcome instanceof WscError))
            entry.resolve(outcome);
        else if (!entry.repeated)
            entry.reject(outcome);
        // Refused now, but the one on the connection before may have been accepted.
        else
            entry.reject(new WscError(outcome.code, outcome.message, { mayHaveArrived: true }));
        this.pump();
        return true;
    }
    /** The connection is gone: what was written and not answered is given up, or written again, each as it was asked for. */
    connectionLost() {
        const lost = [...this.#inFlight.values()];
        this.#inFlight.clear();
        for (const entry of lost.filter((entry) => !entry.resend)) {
            this.#clock.clearTimeout(entry.timer);
            const message = "the connection was lost before the answer: the frame may have arrived or not";
            entry.reject(new WscError("connection_lost", message, { mayHaveArrived: true }));
        }
        const again = lost.filter((entry) => entry.resend);
        this.#waiting.unshift(...again);
        for (const entry of again) {
            this.#waitingBytes += entry.bytes;
            entry.repeated = true;
        }
    }
    /** Rejects everything. */
    clear(why) {
        const all = [...this.#inFlight.values(), ...this.#waiting];
        this.#inFlight.clear();
        this.#waiting = [];
        this.#waitingBytes = 0;
        this.#clock.clearTimeout(this.#pause);
        this.#pause = undefined;
        for (const entry of all) {
            this.#clock.clearTimeout(entry.timer);
            entry.reject(new WscError("closed", why, { mayHaveArrived: entry.written }));
        }
    }
    #timeOut(entry, timeoutMs) {
        const place = this.#waiting.indexOf(entry);
        if (place >= 0) {
            this.#waiting.splice(place, 1);
            this.#waitingBytes -= entry.bytes;
        }
        this.#inFlight.delete(entry.messageId);
        const what = entry.written ? "no answer" : "not sent";
        entry.reject(new WscError("timeout", `${what} within ${timeoutMs} ms`, { mayHaveArrived: entry.written }));
        this.pump();
    }
    #hasCredit() {
        const { perSecond } = this.#limits;
        if (perSecond === Infinity)
            return true;
        const now = this.#clock.now();
        this.#credit = Math.min(perSecond * 2, this.#credit + ((now - this.#creditAt) / 1000) * perSecond);
        this.#creditAt = now;
        if (this.#credit >= 1)
            return true;
        this.#pause ??= this.#clock.setTimeout(() => {
            this.#pause = undefined;
            this.pump();
        }, Math.ceil(((1 - this.#credit) / perSecond) * 1000));
        return false;
    }
}
