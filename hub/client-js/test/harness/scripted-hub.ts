import { createServer, type IncomingMessage } from "node:http";
import type { TestContext } from "node:test";
import { WebSocketServer, type WebSocket } from "ws";

type Json = Record<string, unknown>;

interface Stored {
  offset: [ms: number, number: number];
  frame: Json;
}

/** One connection as this hub sees it. */
export interface Peer {
  socket: WebSocket;
  query: Record<string, string>;
  /** Frames that the client sent. */
  got: Json[];
}

/** A hub that speaks the protocol's part about inboxes, sessions and acknowledgements for one user, and closes as it is told. */
export class ScriptedHub {
  epoch = "e1";
  inbox: Stored[] = [];
  /** Offset that each device acknowledged last, and how often it moved. */
  readonly cursors = new Map<string, [number, number]>();
  readonly sessions = new Set<string>();
  /** Connections since the start, the newest last. */
  readonly peers: Peer[] = [];
  /** Answers joins and messages with this status. */
  keepSessions = true;
  url = "";
  #ms = 1000;
  #trimmed: [number, number] = [0, 0];

  static async start(test: TestContext): Promise<ScriptedHub> {
    const hub = new ScriptedHub();
    const http = createServer();
    const protocols = (offered: Set<string>) => (offered.has("wsc.v1") ? ("wsc.v1" as const) : (false as const));
    const server = new WebSocketServer({ server: http, handleProtocols: protocols });
    server.on("connection", (socket, request) => hub.#accept(socket, request));
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    hub.url = `ws://127.0.0.1:${(http.address() as { port: number }).port}/ws`;
    test.after(() => {
      for (const socket of server.clients) socket.terminate();
      server.close();
      http.close();
    });
    return hub;
  }

  /** The newest connection. */
  get peer(): Peer {
    const peer = this.peers.at(-1);
    if (!peer) throw new Error("nobody connected");
    return peer;
  }

  text(offset: [number, number]): string {
    return `${this.epoch}:${offset[0]}-${offset[1]}`;
  }

  /** Stores a message, and sends it to who is there. */
  store(content: string, more: Json = {}): string {
    // Several share a millisecond, and the count of digits changes on the way.
    this.#ms += this.inbox.length % 3 === 0 ? 7 : 0;
    const last = this.inbox.at(-1)?.offset;
    const offset: [number, number] = [this.#ms, last?.[0] === this.#ms ? last[1] + 1 : 0];
    const frame = { message_type: "text", id: `id-${content}`, content, create_at: "now", ...more };
    this.inbox.push({ offset, frame });
    const { peer } = this;
    if (peer.socket.readyState === 1) this.#write(peer, { ...frame, offset: this.text(offset) });
    return this.text(offset);
  }

  /** Sends any frame on the newest connection. */
  send(frame: Json): void {
    this.#write(this.peer, frame);
  }

  /** Forgets the oldest stored messages. */
  trim(count: number): void {
    this.#trimmed = this.inbox.splice(0, count).at(-1)?.offset ?? this.#trimmed;
  }

  /** All stored messages are lost, as when Redis lost its data. */
  lose(): void {
    this.epoch = `e${Number(this.epoch.slice(1)) + 1}`;
    this.inbox = [];
    this.cursors.clear();
    this.#trimmed = [0, 0];
    this.#ms = 1;
  }

  /** Cuts the newest connection without a close frame. */
  cut(): void {
    this.peer.socket.terminate();
  }

  #write(peer: Peer, frame: Json): void {
    peer.socket.send(JSON.stringify(frame));
  }

  #accept(socket: WebSocket, request: IncomingMessage): void {
    const query = Object.fromEntries(new URL(request.url ?? "", "http://hub").searchParams) as Record<string, string>;
    const peer: Peer = { socket, query, got: [] };
    this.peers.push(peer);
    socket.on("error", () => undefined);
    socket.on("message", (bytes) => this.#read(peer, JSON.parse(String(bytes)) as Json));
    const resumed = this.keepSessions && this.sessions.has(query.session ?? "");
    const session = resumed ? query.session! : `s${this.peers.length}`;
    this.sessions.add(session);
    const ids = { connection_id: `c${this.peers.length}`, client_id: query.client_id ?? "none", user_id: "alice", node_id: "n" };
    this.#write(peer, { message_type: "welcome", ...ids, session, resumed, ping_interval_ms: 25_000 });
    this.#replay(peer);
  }

  /** What comes after the device's cursor and the client's own offset. */
  #replay(peer: Peer): void {
    const device = peer.query.client_id;
    if (device === undefined) return;
    const own = /^(.+):(\d+)-(\d+)$/.exec(peer.query.offset ?? "");
    const offset: [number, number] = own?.[1] === this.epoch ? [Number(own[2]), Number(own[3])] : [0, 0];
    const cursor = this.cursors.get(device) ?? [0, 0];
    const after = before(cursor, offset) ? offset : cursor;
    if ((own && own[1] !== this.epoch) || before(after, this.#trimmed)) {
      const data = { from: peer.query.offset ?? this.text(after), to: this.text(this.#trimmed) };
      this.#write(peer, { message_type: "resume_gap", data });
    }
    for (const { offset, frame } of this.inbox) {
      if (before(after, offset)) this.#write(peer, { ...frame, offset: this.text(offset) });
    }
    this.#write(peer, { message_type: "resume_done" });
  }

  #read(peer: Peer, frame: Json): void {
    peer.got.push(frame);
    const { message_type, message_id, offset } = frame;
    if (message_type === "ping") this.#write(peer, { message_type: "pong" });
    if (message_type === "ack" && typeof offset === "string") {
      const [, epoch, ms, number] = /^(.+):(\d+)-(\d+)$/.exec(offset)!;
      const at: [number, number] = [Number(ms), Number(number)];
      const device = peer.query.client_id ?? "";
      if (epoch === this.epoch && before(this.cursors.get(device) ?? [0, 0], at)) this.cursors.set(device, at);
    } else if (message_id !== undefined && message_type !== "ping") {
      this.#write(peer, { message_type: "result", message_id, status: "complete" });
    }
  }
}

function before(a: [number, number], b: [number, number]): boolean {
  return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
}
