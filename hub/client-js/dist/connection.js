import { WscError } from "./errors.js";
import { parseFrame } from "./frames.js";
import { watchRefusal } from "./refusal.js";
/** A connection that is told to go away and is not closed within that many milliseconds is left. */
const LEAVE_AFTER_MS = 5000;
/** A connection that is doubted has so many milliseconds to show life. */
const PROBE_MS = 5000;
/** A failed attempt whose WebSocket does not say so within that many milliseconds is over. */
const CLOSE_AFTER_ERROR_MS = 100;
/** `readyState` of an open WebSocket. */
const OPEN = 1;
/** One WebSocket, from the attempt to its end, watched with pings. */
export class Connection {
    #socket;
    #clock;
    #listener;
    #welcomed = false;
    #leaving = false;
    #over = false;
    #hintMs;
    #pingMs = 0;
    #unanswered = 0;
    #pingTimer;
    #doubtTimer;
    /** Throws what the constructor of the WebSocket throws, such as for a URL that is none. */
    constructor(url, protocols, WebSocket, clock, listener) {
        this.#clock = clock;
        this.#listener = listener;
        this.#socket = new WebSocket(url, protocols);
        watchRefusal(this.#socket, (error) => this.#end({ code: 1006, reason: "", error }));
        this.#socket.onmessage = (event) => this.#read(event.data);
        this.#socket.onclose = (event) => this.#end({ code: event.code ?? 1006, reason: event.reason ?? "" });
        // A close follows, with all there is to know; but not in Node when the hub could not be reached.
        this.#socket.onerror = () => {
            if (this.#welcomed || this.#over)
                return;
            this.#doubtTimer ??= clock.setTimeout(() => this.#end({ code: 1006, reason: "" }), CLOSE_AFTER_ERROR_MS);
        };
    }
    /** Writes a frame; false when the connection does not take any (more). */
    write(text) {
        if (!this.#welcomed || this.#leaving || this.#over || this.#socket.readyState !== OPEN)
            return false;
        this.#socket.send(text);
        return true;
    }
    /** Closes in order, with 1000; `ended` is not called. */
    close() {
        if (this.#over)
            return;
        this.#finish();
        this.#socket.close(1000, "");
    }
    /** Gives the connection up at once. */
    abandon(error) {
        this.#end({ code: 1006, reason: error.message, error });
    }
    /** Looks whether the connection lives, for example after the machine slept. */
    probe() {
        if (!this.write('{"message_type":"ping"}'))
            return;
        this.#doubtTimer ??= this.#clock.setTimeout(() => this.#dead(), PROBE_MS);
    }
    #read(data) {
        if (this.#over)
            return;
        this.#unanswered = 0;
        this.#clock.clearTimeout(this.#doubtTimer);
        this.#doubtTimer = undefined;
        const frame = parseFrame(data);
        if (frame?.message_type === "pong")
            return;
        if (frame?.message_type === "welcome") {
            this.#welcomed = true;
            this.#pingMs = Number(frame.ping_interval_ms) || 0;
            this.#schedulePing();
            return this.#listener.welcome(frame);
        }
        if (frame?.message_type === "going_away") {
            const hint = frame.data?.retry_after_ms;
            this.#hintMs = typeof hint === "number" && hint >= 0 ? hint : undefined;
            // What is written now would not be read any more.
            this.#leaving = true;
            this.#clock.clearTimeout(this.#pingTimer);
            const leave = () => this.abandon(new WscError("connection_lost", "the hub went away without closing"));
            this.#pingTimer = this.#clock.setTimeout(leave, LEAVE_AFTER_MS);
        }
        this.#listener.frame(frame ?? { message_type: "" });
    }
    #schedulePing() {
        if (this.#pingMs <= 0)
            return;
        this.#pingTimer = this.#clock.setTimeout(() => {
            if (this.#unanswered >= 2)
                return this.#dead();
            this.#unanswered += 1;
            this.write('{"message_type":"ping"}');
            this.#schedulePing();
        }, this.#pingMs);
    }
    #dead() {
        this.abandon(new WscError("connection_lost", "the hub does not answer pings"));
    }
    #end(end) {
        if (this.#over)
            return;
        this.#finish();
        // A socket that shows no life would not answer a close frame either.
        if (this.#socket.terminate)
            this.#socket.terminate();
        else
            this.#socket.close();
        this.#listener.ended(this.#hintMs === undefined ? end : { ...end, hintMs: this.#hintMs });
    }
    #finish() {
        this.#over = true;
        this.#clock.clearTimeout(this.#pingTimer);
        this.#clock.clearTimeout(this.#doubtTimer);
        // The package `ws` throws errors that nobody listens to, so that handler stays.
        this.#socket.onmessage = this.#socket.onclose = null;
    }
}
