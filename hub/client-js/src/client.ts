import { verdict, waitMs } from "./backoff.js";
import { Connection, type End } from "./connection.js";
import { Deliveries, type Delivery } from "./deliveries.js";
import { WscError } from "./errors.js";
import { Emitter } from "./events.js";
import type {
  ErrorFrame,
  Frame,
  GoingAway,
  KickOut,
  Message,
  OutgoingMessage,
  Result,
  ResumeGap,
  Welcome,
} from "./frames.js";
import { BACKOFF, OUTBOX, address, subprotocols, type ClientOptions } from "./options.js";
import { Outbox, type SendOptions } from "./outbox.js";
import { onWake, platformWebSocket, systemClock, throwLater } from "./platform.js";

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

/** Tokens of acknowledgements that are kept while there is no connection. */
const MAX_TOKENS = 256;
/** A resumed session may not know yet what was joined or left in the last milliseconds before the connection was lost. */
const UNSURE_MS = 5000;
/** Milliseconds until a group that could not be joined is tried again. */
const REJOIN_MS = 5000;
/** Longest wait of a timer (31 bits). */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A client of a wsc hub that connects again by itself. */
export class WscClient {
  readonly #options: ClientOptions;
  readonly #events = new Emitter<ClientEvents>();
  readonly #clock;
  readonly #random;
  readonly #outbox;
  readonly #deliveries;
  readonly #wanted: Set<string>;
  /** Groups that were joined or left, and when. */
  readonly #changed = new Map<string, number>();
  #state: State = "idle";
  #connection: Connection | undefined;
  #welcome: Welcome | undefined;
  #first: { promise: Promise<Welcome>; resolve(welcome: Welcome): void; reject(error: WscError): void } | undefined;
  /** Counts attempts, so that what belongs to an earlier one is known. */
  #attempt = 0;
  #failures = 0;
  #onlineSince = 0;
  #lostAt = 0;
  /** Whether a network that is back may shorten the wait. */
  #mayHurry = false;
  #timer: unknown;
  #ackTimer: unknown;
  #rejoinTimer: unknown;
  #acked: string | undefined;
  #tokens: string[] = [];
  #stopWaking: (() => void) | undefined;
  #counter = 0;
  readonly #idPrefix: string;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    const limits = { ...OUTBOX, ...options.outbox };
    this.#outbox = new Outbox(limits, this.#clock, (text) => this.#connection?.write(text) ?? false);
    this.#deliveries = new Deliveries(options.maxUnacknowledged ?? 10_000, options.offset);
    this.#wanted = new Set(options.groups);
    this.#idPrefix = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 12)}`;
    address(options, undefined, undefined); // throws for a URL that is none
  }

  get state(): State {
    return this.#state;
  }

  /** The hub's last welcome: who one is, and on which node. */
  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** All stored messages up to this offset are dealt with. */
  get offset(): string | undefined {
    return this.#deliveries.handled;
  }

  /** Groups that are joined, and joined again after a reconnect. */
  get groups(): string[] {
    return [...this.#wanted];
  }

  /** Frames without an answer, those that wait to be written included. */
  get pending(): number {
    return this.#outbox.size;
  }

  /** Adds a handler. Gives the function that takes it away. */
  on<Name extends keyof ClientEvents>(name: Name, handler: (event: ClientEvents[Name]) => unknown): () => void {
    return this.#events.on(name, handler);
  }

  /** Takes a handler away. */
  off<Name extends keyof ClientEvents>(name: Name, handler: (event: ClientEvents[Name]) => unknown): void {
    this.#events.off(name, handler);
  }

  /** Connects, and again whenever the connection is lost. Resolves at the first welcome, rejects when closed before. */
  connect(): Promise<Welcome> {
    if (this.#first && this.#state !== "closed") return this.#first.promise;
    const WebSocket = this.#options.WebSocket ?? platformWebSocket();
    let resolve!: (welcome: Welcome) => void;
    let reject!: (error: WscError) => void;
    const promise = new Promise<Welcome>((yes, no) => ((resolve = yes), (reject = no)));
    // Who does not wait for it hears of it by the state.
    promise.catch(() => undefined);
    this.#first = { promise, resolve, reject };
    this.#failures = 0;
    this.#stopWaking ??= onWake(() => this.#wake());
    void this.#open(WebSocket);
    return promise;
  }

  /** Ends the connection and all attempts; what waits for an answer is rejected. `connect()` may be called again. */
  close(): void {
    this.#sendAcks();
    this.#connection?.close();
    this.#stop({ code: 1000, reason: "closed by the client" }, "closed by close()");
  }

  /** Sends to a user or a group. Resolves with what became of it; rejects with a {@link WscError}. */
  send(message: OutgoingMessage, options: SendOptions = {}): Promise<Result> {
    const id = message.message_id ?? this.#nextId();
    // The hub could not say whose fault it was.
    if (!/^[A-Za-z0-9._:-]{1,64}$/.test(id)) return Promise.reject(new WscError("bad_request", `not a message_id: ${id}`));
    const frame = { message_type: "text", ...message, message_id: id };
    return this.#enqueue(id, frame, options);
  }

  /** Joins a group, now and after each reconnect. */
  join(group: string, options: SendOptions = {}): Promise<Result> {
    this.#wanted.add(group);
    return this.#changeGroup("join", group, options);
  }

  /** Leaves a group. */
  leave(group: string, options: SendOptions = {}): Promise<Result> {
    this.#wanted.delete(group);
    return this.#changeGroup("leave", group, options);
  }

  async #open(WebSocket: NonNullable<ClientOptions["WebSocket"]>): Promise<void> {
    const attempt = ++this.#attempt;
    const late = new WscError("no_connection", "no welcome in time");
    this.#timer = this.#clock.setTimeout(() => {
      if (this.#connection) this.#connection.abandon(late);
      else this.#ended({ code: 1006, reason: "", error: late }, WebSocket);
    }, this.#options.connectTimeoutMs ?? 10_000);
    this.#setState({ state: "connecting" });
    // A handler may have closed the client.
    if (attempt !== this.#attempt) return;
    let failure: "token_failed" | "no_connection" = "token_failed";
    try {
      const token = await this.#options.getToken?.("connect");
      if (attempt !== this.#attempt) return;
      failure = "no_connection";
      const url = address(this.#options, this.#welcome?.session, this.#deliveries.resumeAfter);
      this.#connection = new Connection(url, subprotocols(token), WebSocket, this.#clock, {
        welcome: (frame) => this.#welcomed(frame),
        frame: (frame) => this.#read(frame),
        ended: (end) => this.#ended(end, WebSocket),
      });
    } catch (cause) {
      if (attempt !== this.#attempt) return;
      const error = new WscError(failure, `cannot connect: ${cause}`, { cause });
      this.#ended({ code: 1006, reason: "", error }, WebSocket);
    }
  }

  #welcomed(welcome: Welcome): void {
    this.#clock.clearTimeout(this.#timer);
    this.#onlineSince = this.#clock.now();
    this.#welcome = welcome;
    this.#first?.resolve(welcome);
    this.#setState({ state: "online" });
    this.#emit("welcome", welcome);
    if (!welcome.resumed) this.#rejoin(this.#wanted);
    else this.#repeatChanges();
    this.#sendAcks();
    for (const token of this.#tokens.splice(0)) this.#acknowledge(token);
    this.#outbox.pump();
  }

  #ended(end: End, WebSocket: NonNullable<ClientOptions["WebSocket"]>): void {
    this.#clock.clearTimeout(this.#timer);
    this.#connection = undefined;
    // What was written last may not have been read.
    this.#acked = undefined;
    this.#attempt += 1;
    if (this.#state === "online") {
      this.#lostAt = this.#clock.now();
      if (this.#lostAt - this.#onlineSince >= (this.#options.stableAfterMs ?? 5000)) this.#failures = 0;
    }
    const next = verdict(end.code, this.#options.getToken !== undefined);
    const { code, reason, error } = end;
    const why = { code, reason, ...(error && { error }) };
    if (next === "stop") {
      this.#stop(why, `closed by the hub with ${code}: ${reason}`);
      if (code === 4002) this.#emit("replaced", { state: "closed", previous: "online", ...why });
      return;
    }
    const limits = { ...BACKOFF, ...this.#options.backoff };
    const wait = { verdict: next, failures: this.#failures, hintMs: end.hintMs, retryAfterMs: error?.retryAfterMs };
    const retryInMs = waitMs(wait, limits, this.#random());
    this.#failures += 1;
    this.#mayHurry = next === "back-off" && code === 1006 && end.hintMs === undefined && error?.retryAfterMs === undefined;
    this.#timer = this.#clock.setTimeout(() => void this.#open(WebSocket), retryInMs);
    this.#setState({ state: "waiting", retryInMs, ...why });
    this.#outbox.connectionLost();
  }

  #stop(why: Omit<StateChange, "state" | "previous">, message: string): void {
    this.#attempt += 1;
    this.#connection = undefined;
    for (const timer of [this.#timer, this.#ackTimer, this.#rejoinTimer]) this.#clock.clearTimeout(timer);
    this.#ackTimer = this.#rejoinTimer = this.#acked = undefined;
    this.#stopWaking?.();
    this.#stopWaking = undefined;
    this.#first?.reject(new WscError("closed", message));
    this.#outbox.clear(message);
    if (this.#state !== "closed") this.#setState({ state: "closed", ...why });
  }

  #wake(): void {
    if (this.#state === "online") this.#connection?.probe();
    if (this.#state !== "waiting" || !this.#mayHurry) return;
    this.#mayHurry = false;
    const WebSocket = this.#options.WebSocket ?? platformWebSocket();
    this.#clock.clearTimeout(this.#timer);
    // Not all devices of a network in the same moment.
    this.#timer = this.#clock.setTimeout(() => void this.#open(WebSocket), this.#random() * 1000);
  }

  #read(frame: Frame): void {
    switch (frame.message_type) {
      case "":
        return this.#fail(new WscError("invalid_frame", "the hub sent what is no frame"));
      case "result":
        this.#outbox.answer(String(frame.message_id), frame as unknown as Result);
        return;
      case "error":
        return this.#readError(frame as unknown as ErrorFrame);
      case "auth_expiring":
        return void this.#renew();
      case "resume_gap":
      case "resume_done":
      case "going_away":
      case "kick_out":
        return this.#emit(frame.message_type, frame as never);
      default:
        return this.#deliver(frame);
    }
  }

  #readError({ message_id, code, content }: ErrorFrame): void {
    const error = new WscError(code, content ?? code);
    if (message_id === undefined || !this.#outbox.answer(message_id, error)) this.#fail(error);
  }

  async #renew(): Promise<void> {
    const { getToken } = this.#options;
    if (!getToken) return;
    try {
      const token = await getToken("expiring");
      const id = this.#nextId();
      const frame = JSON.stringify({ message_type: "auth", message_id: id, data: { token } });
      await this.#outbox.add(id, frame, { timeoutMs: this.#timeoutMs({}), resend: false }, true);
    } catch (cause) {
      // The hub will close with 4003, and the next connect asks for a token again.
      if (this.#state !== "closed") this.#fail(new WscError("token_failed", `the token was not renewed: ${cause}`, { cause }));
    }
  }

  #deliver(frame: Frame): void {
    const text = (value: unknown) => (typeof value === "string" ? value : undefined);
    const { deliver, token, givenUp } = this.#deliveries.take(text(frame.id), text(frame.offset), text(frame.ack));
    if (token !== undefined) this.#acknowledge(token);
    if (givenUp) this.#fail(new WscError("unacknowledged", `${givenUp.text} is no longer waited for, too many others wait`));
    if (!deliver) return;
    const manual = this.#options.acknowledge === "manual";
    const message = { ...frame, ack: () => manual && this.#settle(deliver, true) } as unknown as Message;
    if (this.#events.count("message") === 0) return this.#settle(deliver, false);
    this.#events.call("message", message).then(
      () => manual || this.#settle(deliver, true),
      (cause: unknown) => {
        this.#settle(deliver, false);
        this.#fail(new WscError("handler_failed", `a handler of message failed: ${cause}`, { cause }));
      },
    );
  }

  #settle(delivery: Delivery, well: boolean): void {
    for (const token of this.#deliveries.settle(delivery, well)) this.#acknowledge(token);
    if (this.#deliveries.handled !== this.#acked) {
      this.#ackTimer ??= this.#clock.setTimeout(() => this.#sendAcks(), this.#options.ackDelayMs ?? 200);
    }
  }

  /** Everything up to an offset is dealt with. */
  #sendAcks(): void {
    this.#clock.clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    const offset = this.#deliveries.handled;
    if (offset === undefined || offset === this.#acked || offset === this.#options.offset) return;
    if (this.#connection?.write(JSON.stringify({ message_type: "ack", offset }))) this.#acked = offset;
  }

  /** One message is dealt with, and somebody waits to hear of it. */
  #acknowledge(token: string): void {
    if (this.#connection?.write(JSON.stringify({ message_type: "ack", ack: token }))) return;
    this.#tokens.push(token);
    if (this.#tokens.length > MAX_TOKENS) this.#tokens.shift();
  }

  #rejoin(groups: Iterable<string>): void {
    const again = new Set<string>();
    for (const group of groups) {
      const id = this.#nextId();
      const frame = JSON.stringify({ message_type: "join", group, message_id: id });
      const options = { timeoutMs: this.#timeoutMs({}), resend: false };
      const answered = this.#outbox.add(id, frame, options, true);
      answered.then(() => this.#noteChange(group)).catch((cause: WscError) => {
        // The next connection joins all.
        if (cause.code === "closed" || cause.code === "connection_lost") return;
        this.#fail(new WscError(cause.code, `cannot join ${group}: ${cause.message}`, { group, cause }));
        if (cause.code === "not_permitted" || cause.code === "bad_request") this.#wanted.delete(group);
        else again.add(group);
        if (again.size > 0) this.#rejoinTimer ??= this.#clock.setTimeout(() => this.#retryJoins(again), REJOIN_MS);
      });
    }
  }

  #retryJoins(groups: Set<string>): void {
    this.#rejoinTimer = undefined;
    if (this.#state === "online") this.#rejoin([...groups].filter((group) => this.#wanted.has(group)));
  }

  /** What the session may not have noted: joins and leaves from shortly before the connection was lost. */
  #repeatChanges(): void {
    const recent = [...this.#changed].filter(([, at]) => this.#lostAt - at < UNSURE_MS).map(([group]) => group);
    this.#changed.clear();
    this.#rejoin(recent.filter((group) => this.#wanted.has(group)));
    for (const group of recent.filter((group) => !this.#wanted.has(group))) {
      // Should this be lost, the next connect shows it again.
      this.leave(group).catch(() => undefined);
    }
  }

  async #changeGroup(message_type: "join" | "leave", group: string, options: SendOptions): Promise<Result> {
    const message_id = this.#nextId();
    // Doing it twice is as good as once.
    const result = await this.#enqueue(message_id, { message_type, group, message_id }, { resend: true, ...options });
    this.#noteChange(group);
    return result;
  }

  #noteChange(group: string): void {
    const now = this.#clock.now();
    for (const [old, at] of this.#changed) if (now - at >= UNSURE_MS) this.#changed.delete(old);
    this.#changed.set(group, now);
  }

  async #enqueue(id: string, frame: object, options: SendOptions): Promise<Result> {
    if (this.#state === "closed") throw new WscError("closed", "the client is closed");
    const resend = options.resend ?? false;
    return this.#outbox.add(id, JSON.stringify(frame), { timeoutMs: this.#timeoutMs(options), resend });
  }

  #timeoutMs(options: SendOptions): number {
    return Math.min(options.timeoutMs ?? this.#options.sendTimeoutMs ?? 15_000, MAX_TIMER_MS);
  }

  #nextId(): string {
    this.#counter += 1;
    return `${this.#idPrefix}-${this.#counter}`;
  }

  #setState(change: Omit<StateChange, "previous">): void {
    const previous = this.#state;
    this.#state = change.state;
    this.#emit("state", { ...change, previous });
  }

  #emit<Name extends keyof ClientEvents>(name: Name, event: ClientEvents[Name]): void {
    this.#events.call(name, event).catch((cause: unknown) => {
      if (name === "error") throwLater(cause);
      else this.#fail(new WscError("handler_failed", `a handler of ${name} failed: ${cause}`, { cause }));
    });
  }

  #fail(error: WscError): void {
    // A fault of a handler must not vanish.
    if (error.code === "handler_failed" && this.#events.count("error") === 0) return throwLater(error);
    this.#emit("error", error);
  }
}
