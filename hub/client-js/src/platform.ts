/** What the library takes from its surroundings. Its own types, so that users need neither DOM nor Node types. */

/** Time and timers; tests bring their own. */
export interface Clock {
  /** Milliseconds of a clock that only goes forward. */
  now(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** The part of a WebSocket that is used: browsers, Node 22 and the package `ws` have it. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** A constructor of WebSockets. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

interface EventSource {
  addEventListener?(name: string, listener: () => void): void;
  removeEventListener?(name: string, listener: () => void): void;
}

interface Url {
  protocol: string;
  hash: string;
  readonly href: string;
  readonly searchParams: { set(name: string, value: string): void };
}

interface Surroundings extends EventSource {
  WebSocket?: WebSocketConstructor;
  document?: EventSource & { visibilityState?: string };
  performance: { now(): number };
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  queueMicrotask(run: () => void): void;
  URL: new (url: string) => Url;
  TextEncoder: new () => { encode(text: string): { length: number } };
}

const here = globalThis as unknown as Surroundings;

/** The clock of this platform. */
export const systemClock: Clock = {
  now: () => here.performance.now(),
  setTimeout: (run, ms) => here.setTimeout(run, ms),
  clearTimeout: (timer) => here.clearTimeout(timer),
};

/** The WebSocket of this platform; Node has one from version 22 on. */
export function platformWebSocket(): WebSocketConstructor {
  if (!here.WebSocket) {
    throw new TypeError("there is no global WebSocket here: pass one as the option WebSocket, such as that of the package ws");
  }
  return here.WebSocket;
}

/** Reads a URL; throws when the text is none. */
export function parseUrl(text: string): Url {
  return new here.URL(text);
}

/** Bytes of a text in UTF-8. */
export function utf8Length(text: string): number {
  return new here.TextEncoder().encode(text).length;
}

/** Throws outside of the current call, where the platform reports what nobody caught. */
export function throwLater(error: unknown): void {
  here.queueMicrotask(() => {
    throw error;
  });
}

/** Calls `wake` when a browser has its network back or its page is seen again. Gives what ends that. */
export function onWake(wake: () => void): () => void {
  const seen = () => {
    if (here.document?.visibilityState === "visible") wake();
  };
  here.addEventListener?.("online", wake);
  here.document?.addEventListener?.("visibilitychange", seen);
  return () => {
    here.removeEventListener?.("online", wake);
    here.document?.removeEventListener?.("visibilitychange", seen);
  };
}
