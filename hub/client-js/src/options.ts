import type { BackoffLimits } from "./backoff.js";
import type { OutboxLimits } from "./outbox.js";
import { parseUrl, type Clock, type WebSocketConstructor } from "./platform.js";

/** Why a token is asked for. */
export type TokenReason = "connect" | "expiring";

/** Options of a client; only `url` is needed. */
export interface ClientOptions {
  /** Address of the hub's `/ws`: `ws:`, `wss:`, `http:` or `https:`. Its query is kept. */
  url: string | { readonly href: string };
  /** The user, for hubs in mode `trusted` (development). */
  userId?: string;
  /** Gives a token, for hubs in mode `token`: asked at each connect and when the one in use is about to end. */
  getToken?: (reason: TokenReason) => string | Promise<string>;
  /** The device. Without one the hub keeps no place in the inbox, so nothing is delivered later. */
  clientId?: string;
  /** Groups to join. */
  groups?: Iterable<string>;
  /** What this device dealt with last, from an earlier life; the hub's own memory of it is usually enough. */
  offset?: string;
  /** `auto` (default): a message is acknowledged when its handlers are done. `manual`: when `message.ack()` is called. */
  acknowledge?: "auto" | "manual";
  /** Milliseconds for which acknowledgements are gathered; default 200. */
  ackDelayMs?: number;
  /** Stored messages that may wait for their acknowledgement; default 10,000. */
  maxUnacknowledged?: number;
  /** Milliseconds until a send without an answer is rejected; default 15,000. */
  sendTimeoutMs?: number;
  /** Milliseconds from an attempt to connect, token included, to the hub's welcome; default 10,000. */
  connectTimeoutMs?: number;
  /** Milliseconds after which a connection counts as one that lasted, so that back-off begins anew; default 5,000. */
  stableAfterMs?: number;
  /** Waits between attempts; default 1,000 doubling to 30,000, each with full jitter. */
  backoff?: Partial<BackoffLimits>;
  /** Bounds of what waits to be sent; default 256 messages, 1 MiB, 64 KiB each, 32 in flight, 40 per second. */
  outbox?: Partial<OutboxLimits>;
  /** The WebSocket to use; default the global one, which Node has from version 22 on. */
  WebSocket?: WebSocketConstructor;
  /** For tests. */
  clock?: Clock;
  /** For tests: from 0 to 1. */
  random?: () => number;
}

export const BACKOFF: BackoffLimits = { initialMs: 1000, maxMs: 30_000 };

export const OUTBOX: OutboxLimits = {
  maxMessages: 256,
  maxBytes: 1024 * 1024,
  maxMessageBytes: 65_536,
  maxInFlight: 32,
  perSecond: 40,
};

/** The hub's address with what this client asks for. */
export function address(options: ClientOptions, session: string | undefined, offset: string | undefined): string {
  const url = parseUrl(typeof options.url === "string" ? options.url : options.url.href);
  url.protocol = url.protocol.replace(/^http/, "ws");
  url.hash = "";
  // A user with a token is named by it.
  const user = options.getToken ? undefined : options.userId;
  // The hub takes an offset only from a device that it can tell from others.
  const after = options.clientId === undefined ? undefined : offset;
  const inputs = { user_id: user, client_id: options.clientId, session, offset: after };
  for (const [name, value] of Object.entries(inputs)) if (value !== undefined) url.searchParams.set(name, value);
  return url.href;
}

/** What is offered as subprotocols: the token travels there, since browsers cannot set headers. */
export function subprotocols(token: string | undefined): string[] {
  return token === undefined ? ["wsc.v1"] : ["wsc.v1", `bearer.${token}`];
}
