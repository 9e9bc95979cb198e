import { WscError } from "./errors.js";
/**
 * Reports how the hub refused a connect, where the WebSocket tells: that of the package `ws` does. Browsers and Node's own
 * hide it, there a refusal looks like a hub that cannot be reached.
 */
export declare function watchRefusal(socket: object, refused: (error: WscError) => void): void;
/** What a refusal says: the hub's error body (RFC 9457), or that of a proxy in between. */
export declare function refusal(status: number | undefined, retryAfter: unknown, body: string): WscError;
