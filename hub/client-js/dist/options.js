import { parseUrl } from "./platform.js";
export const BACKOFF = { initialMs: 1000, maxMs: 30_000 };
export const OUTBOX = {
    maxMessages: 256,
    maxBytes: 1024 * 1024,
    maxMessageBytes: 65_536,
    maxInFlight: 32,
    perSecond: 40,
};
/** The hub's address with what this client asks for. */
export function address(options, session, offset) {
    const url = parseUrl(typeof options.url === "string" ? options.url : options.url.href);
    url.protocol = url.protocol.replace(/^http/, "ws");
    url.hash = "";
    // A user with a token is named by it.
    const user = options.getToken ? undefined : options.userId;
    // The hub takes an offset only from a device that it can tell from others.
    const after = options.clientId === undefined ? undefined : offset;
    const inputs = { user_id: user, client_id: options.clientId, session, offset: after };
    for (const [name, value] of Object.entries(inputs))
        if (value !== undefined)
            url.searchParams.set(name, value);
    return url.href;
}
/** What is offered as subprotocols: the token travels there, since browsers cannot set headers. */
export function subprotocols(token) {
    return token === undefined ? ["wsc.v1"] : ["wsc.v1", `bearer.${token}`];
}
