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
interface Url {
    protocol: string;
    hash: string;
    readonly href: string;
    readonly searchParams: {
        set(name: string, value: string): void;
    };
}
/** The clock of this platform. */
export declare const systemClock: Clock;
/** The WebSocket of this platform; Node has one from version 22 on. */
export declare function platformWebSocket(): WebSocketConstructor;
/** Reads a URL; throws when the text is none. */
export declare function parseUrl(text: string): Url;
/** Bytes of a text in UTF-8. */
export declare function utf8Length(text: string): number;
/** Throws outside of the current call, where the platform reports what nobody caught. */
export declare function throwLater(error: unknown): void;
/** Calls `wake` when a browser has its network back or its page is seen again. Gives what ends that. */
export declare function onWake(wake: () => void): () => void;
export {};
