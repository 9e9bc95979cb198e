import { WscError } from "./errors.js";
import { parseFrame, type Frame, type GoingAway, type Welcome } from "./frames.js";
import type { Clock, WebSocketConstructor, WebSocketLike } from "./platform.js";
import { watchRefusal } from "./refusal.js";

/** A connection that is told to go away and is not closed within that many milliseconds is left. */
const LEAVE_AFTER_MS = 5000;
/** A connection that is doubted has so many milliseconds to show life. */
const PROBE_MS = 5000;
/** A failed attempt whose WebSocket does not say so within that many milliseconds is over. */
const CLOSE_AFTER_ERROR_MS = 100;
/** `readyState` of an open WebSocket. */
const OPEN = 1;

/** How a connection ended. */
export interface End {
  /** The close code; 1006 when there was none. */
  code: number;
  reason: string;
  /** How long the hub asked to wait, from `going_away`. */
  hintMs?: number;
  /** Why it never opened, or was given up. */
  error?: WscError;
}

/** Who is told what happens; `ended` is the last call, and comes once. */
export interface ConnectionListener {
  welcome(frame: Welcome): void;
  frame(frame: Frame): void;
  ended(end: End): void;
}

/** One WebSocket, from the attempt to its end, watched with pings. */
export class Connection {
  readonly #socket: WebSocketLike & { terminate?: () => void };
  readonly #clock: Clock;
  readonly #listener: ConnectionListener;
  #welcomed = false;
  #leaving = false;
  #over = false;
  #hintMs: number | undefined;
  #pingMs = 0;
  #unanswered = 0;
  #pingTimer: unknown;
  #doubtTimer: unknown;

  /** Throws what the constructor of the WebSocket throws, such as for a URL that is none. */
  constructor(
    url: string,
    protocols: string[],
    WebSocket: WebSocketConstructor,
    clock: Clock,
    listener: ConnectionListener,
  ) {
    this.#clock = clock;
    this.#listener = listener;
    this.#socket = new WebSocket(url, protocols);
    watchRefusal(this.#socket, (error) => this.#end({ code: 1006, reason: "", error }));
    this.#socket.onmessage = (event: { data: unknown }) => this.#read(event.data);
    this.#socket.onclose = (event: { code?: number; reason?: string }) =>
      this.#end({ code: event.code ?? 1006, reason: event.reason ?? "" });
    // A close follows, with all there is to know; but not in Node when the hub could not be reached.
    this.#socket.onerror = () => {
      if (this.#welcomed || this.#over) return;
      this.#doubtTimer ??= clock.setTimeout(() => this.#end({ code: 1006, reason: "" }), CLOSE_AFTER_ERROR_MS);
    };
  }

  /** Writes a frame; false when the connection does not take any (more). */
  write(text: string): boolean {
    if (!this.#welcomed || this.#leaving || this.#over || this.#socket.readyState !== OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  /** Closes in order, with 1000; `ended` is not called. */
  close(): void {
    if (this.#over) return;
    this.#finish();
    this.#socket.close(1000, "");
  }

  /** Gives the connection up at once. */
  abandon(error: WscError): void {
    this.#end({ code: 1006, reason: error.message, error });
  }

  /** Looks whether the connection lives, for example after the machine slept. */
  probe(): void {
    if (!this.write('{"message_type":"ping"}')) return;
    this.#doubtTimer ??= this.#clock.setTimeout(() => this.#dead(), PROBE_MS);
  }

  #read(data: unknown): void {
    if (this.#over) return;
    this.#unanswered = 0;
    this.#clock.clearTimeout(this.#doubtTimer);
    this.#doubtTimer = undefined;
    const frame = parseFrame(data);
    if (frame?.message_type === "pong") return;
    if (frame?.message_type === "welcome") {
      this.#welcomed = true;
      this.#pingMs = Number(frame.ping_interval_ms) || 0;
      this.#schedulePing();
      return this.#listener.welcome(frame as unknown as Welcome);
    }
    if (frame?.message_type === "going_away") {
      const hint = (frame as GoingAway).data?.retry_after_ms;
      this.#hintMs = typeof hint === "number" && hint >= 0 ? hint : undefined;
      // What is written now would not be read any more.
      this.#leaving = true;
      this.#clock.clearTimeout(this.#pingTimer);
      const leave = () => this.abandon(new WscError("connection_lost", "the hub went away without closing"));
      this.#pingTimer = this.#clock.setTimeout(leave, LEAVE_AFTER_MS);
    }
    this.#listener.frame(frame ?? { message_type: "" });
  }

  #schedulePing(): void {
    if (this.#pingMs <= 0) return;
    this.#pingTimer = this.#clock.setTimeout(() => {
      if (this.#unanswered >= 2) return this.#dead();
      this.#unanswered += 1;
      this.write('{"message_type":"ping"}');
      this.#schedulePing();
    }, this.#pingMs);
  }

  #dead(): void {
    this.abandon(new WscError("connection_lost", "the hub does not answer pings"));
  }

  #end(end: End): void {
    if (this.#over) return;
    this.#finish();
    // A socket that shows no life would not answer a close frame either.
    if (this.#socket.terminate) this.#socket.terminate();
    else this.#socket.close();
    this.#listener.ended(this.#hintMs === undefined ? end : { ...end, hintMs: this.#hintMs });
  }

  #finish(): void {
    this.#over = true;
    this.#clock.clearTimeout(this.#pingTimer);
    this.#clock.clearTimeout(this.#doubtTimer);
    // The package `ws` throws errors that nobody listens to, so that handler stays.
    this.#socket.onmessage = this.#socket.onclose = null;
  }
}
