import { WscClient, type ClientOptions, type StateChange, type WscError } from "../../src/index.js";
import { FakeClock, settle } from "./fake-clock.js";

type Json = Record<string, unknown>;

/** A WebSocket whose other end is the test. */
export class FakeSocket {
  readyState = 0;
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  readonly sent: Json[] = [];
  closedWith: number | undefined | "not closed" = "not closed";

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {}

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Json);
  }

  close(code?: number): void {
    this.closedWith = code;
    this.readyState = 3;
  }

  /** The query of its address. */
  get query(): Json {
    return Object.fromEntries(new URL(this.url).searchParams);
  }

  /** Frames of one type that the client sent. */
  sentOf(type: string): Json[] {
    return this.sent.filter((frame) => frame.message_type === type);
  }

  /** The hub sends a frame. */
  async frame(frame: Json | string): Promise<void> {
    const data = typeof frame === "string" ? frame : JSON.stringify(frame);
    this.onmessage?.({ data } as never);
    await settle();
  }

  /** The upgrade succeeds and the hub says welcome. */
  async welcome(more: Json = {}): Promise<void> {
    this.readyState = 1;
    this.onopen?.({} as never);
    const welcome = { connection_id: "c", client_id: "d", user_id: "alice", node_id: "n", resumed: false };
    await this.frame({ message_type: "welcome", ...welcome, ping_interval_ms: 25_000, ...more });
  }

  /** The connection ends. */
  async end(code = 1006, reason = ""): Promise<void> {
    this.readyState = 3;
    this.onclose?.({ code, reason } as never);
    await settle();
  }
}

/** A client on fake sockets and a fake clock, with all that it told. */
export class Bench {
  readonly clock = new FakeClock();
  readonly sockets: FakeSocket[] = [];
  readonly states: StateChange[] = [];
  readonly errors: WscError[] = [];
  /** The chance of the next waits. */
  chance = 0.5;
  readonly client: WscClient;

  constructor(options: Partial<ClientOptions> = {}) {
    const { sockets } = this;
    class Socket extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    }
    this.client = new WscClient({
      url: "ws://hub/ws",
      WebSocket: Socket,
      clock: this.clock,
      random: () => this.chance,
      ...options,
    });
    this.client.on("state", (change) => this.states.push(change));
    this.client.on("error", (error) => this.errors.push(error));
  }

  /** The newest socket. */
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("no socket was opened");
    return socket;
  }

  /** The newest change of the state. */
  get last(): StateChange {
    const change = this.states.at(-1);
    if (!change) throw new Error("no change of the state");
    return change;
  }

  /** Connects and is welcomed. */
  async online(welcome: Json = {}): Promise<FakeSocket> {
    void this.client.connect();
    await settle();
    await this.socket.welcome(welcome);
    return this.socket;
  }

  /** Waits until the next attempt and is welcomed. */
  async back(welcome: Json = {}): Promise<FakeSocket> {
    const before = this.sockets.length;
    await this.clock.advance(this.last.retryInMs ?? 0);
    if (this.sockets.length !== before + 1) throw new Error(`${this.sockets.length - before} new sockets`);
    await this.socket.welcome(welcome);
    return this.socket;
  }
}
