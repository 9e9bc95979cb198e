import { WscError } from "./errors.js";
import type { Result } from "./frames.js";
import { utf8Length, type Clock } from "./platform.js";

/** Bounds of what waits to be sent. */
export interface OutboxLimits {
  /** Frames that may wait to be written. */
  maxMessages: number;
  /** Their bytes together. */
  maxBytes: number;
  /** Largest frame in bytes; the hub closes a connection that sends more than its own limit. */
  maxMessageBytes: number;
  /** Frames that may be on their way without an answer; the hub refuses more than 64 by default. */
  maxInFlight: number;
  /** Frames per second that are written in the long run, and twice as many at once; the hub refuses more than 50 by default. */
  perSecond: number;
}

/** How one frame is sent. */
export interface SendOptions {
  /** Milliseconds until the promise is rejected; default the client's `sendTimeoutMs`. */
  timeoutMs?: number;
  /**
   * Whether the frame, with the same message_id, is written again after a connection was lost before its answer. The hub
   * delivers it twice if the new connection is to another node or comes more than a minute later.
   */
  resend?: boolean;
}

interface Entry {
  readonly messageId: string;
  readonly text: string;
  readonly bytes: number;
  readonly resend: boolean;
  /** Whether it was ever written: an answer may then be lost, the frame may have arrived. */
  written: boolean;
  /** Whether it was written before, on a connection that was lost. */
  repeated: boolean;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: WscError) => void;
  timer: unknown;
}

/** Frames with a message_id, from `add` to their answer: first they wait to be written, then for the answer. */
export class Outbox {
  readonly #limits: OutboxLimits;
  readonly #clock: Clock;
  readonly #write: (text: string) => boolean;
  #waiting: Entry[] = [];
  #waitingBytes = 0;
  readonly #inFlight = new Map<string, Entry>();
  /** Frames that may be written at once; grows by `perSecond`. */
  #credit: number;
  #creditAt: number;
  #pause: unknown;

  /** `write` puts a frame on the wire and gives false when it cannot. */
  constructor(limits: OutboxLimits, clock: Clock, write: (text: string) => boolean) {
    this.#limits = limits;
    this.#clock = clock;
    this.#write = write;
    this.#credit = limits.perSecond * 2;
    this.#creditAt = clock.now();
  }

  /** Frames without an answer. */
  get size(): number {
    return this.#waiting.length + this.#inFlight.size;
  }

  /** Frames that were not written yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Takes a frame. `first`: ahead of all others, and whatever the bounds. */
  add(messageId: string, text: string, options: Required<SendOptions>, first = false): Promise<Result> {
    return new Promise((resolve, reject) => {
      const { maxMessages, maxBytes, maxMessageBytes } = this.#limits;
      const bytes = utf8Length(text);
      const refuse = (code: "too_large" | "outbox_full" | "duplicate_message_id", message: string) =>
        reject(new WscError(code, message));
      if (bytes > maxMessageBytes) return refuse("too_large", `the frame has ${bytes} bytes, ${maxMessageBytes} are allowed`);
      if (this.#inFlight.has(messageId) || this.#waiting.some((entry) => entry.messageId === messageId)) {
        return refuse("duplicate_message_id", `${messageId} is on its way already`);
      }
      if (!first && (this.#waiting.length >= maxMessages || this.#waitingBytes + bytes > maxBytes)) {
        return refuse("outbox_full", `${this.#waiting.length} frames of ${this.#waitingBytes} bytes wait already`);
      }
      const fresh = { written: false, repeated: false, timer: undefined };
      const entry: Entry = { messageId, text, bytes, resend: options.resend, ...fresh, resolve, reject };
      entry.timer = this.#clock.setTimeout(() => this.#timeOut(entry, options.timeoutMs), options.timeoutMs);
      this.#waitingBytes += bytes;
      if (first) this.#waiting.unshift(entry);
      else this.#waiting.push(entry);
      this.pump();
    });
  }

  /** Writes what may be written now. */
  pump(): void {
    while (this.#waiting.length > 0 && this.#inFlight.size < this.#limits.maxInFlight && this.#hasCredit()) {
      const entry = this.#waiting[0]!;
      if (!this.#write(entry.text)) return;
      this.#waiting.shift();
      this.#waitingBytes -= entry.bytes;
      this.#credit -= 1;
      entry.written = true;
      this.#inFlight.set(entry.messageId, entry);
    }
  }

  /** An answer came; false when nobody waits for it. */
  answer(messageId: string, outcome: Result | WscError): boolean {
    const entry = this.#inFlight.get(messageId);
    if (!entry) return false;
    this.#inFlight.delete(messageId);
    this.#clock.clearTimeout(entry.timer);
    if (!(outcome instanceof WscError)) entry.resolve(outcome);
    else if (!entry.repeated) entry.reject(outcome);
    // Refused now, but the one on the connection before may have been accepted.
    else entry.reject(new WscError(outcome.code, outcome.message, { mayHaveArrived: true }));
    this.pump();
    return true;
  }

  /** The connection is gone: what was written and not answered is given up, or written again, each as it was asked for. */
  connectionLost(): void {
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
  clear(why: string): void {
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

  #timeOut(entry: Entry, timeoutMs: number): void {
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

  #hasCredit(): boolean {
    const { perSecond } = this.#limits;
    if (perSecond === Infinity) return true;
    const now = this.#clock.now();
    this.#credit = Math.min(perSecond * 2, this.#credit + ((now - this.#creditAt) / 1000) * perSecond);
    this.#creditAt = now;
    if (this.#credit >= 1) return true;
    this.#pause ??= this.#clock.setTimeout(() => {
      this.#pause = undefined;
      this.pump();
    }, Math.ceil(((1 - this.#credit) / perSecond) * 1000));
    return false;
  }
}
