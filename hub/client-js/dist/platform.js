/** What the library takes from its surroundings. Its own types, so that users need neither DOM nor Node types. */
const here = globalThis;
/** The clock of this platform. */
export const systemClock = {
    now: () => here.performance.now(),
    setTimeout: (run, ms) => here.setTimeout(run, ms),
    clearTimeout: (timer) => here.clearTimeout(timer),
};
/** The WebSocket of this platform; Node has one from version 22 on. */
export function platformWebSocket() {
    if (!here.WebSocket) {
        throw new TypeError("there is no global WebSocket here: pass one as the option WebSocket, such as that of the package ws");
    }
    return here.WebSocket;
}
/** Reads a URL; throws when the text is none. */
export function parseUrl(text) {
    return new here.URL(text);
}
/** Bytes of a text in UTF-8. */
export function utf8Length(text) {
    return new here.TextEncoder().encode(text).length;
}
/** Throws outside of the current call, where the platform reports what nobody caught. */
export function throwLater(error) {
    here.queueMicrotask(() => {
        throw error;
    });
}
/** Calls `wake` when a browser has its network back or its page is seen again. Gives what ends that. */
export function onWake(wake) {
    const seen = () => {
        if (here.document?.visibilityState === "visible")
            wake();
    };
    here.addEventListener?.("online", wake);
    here.document?.addEventListener?.("visibilitychange", seen);
    return () => {
        here.removeEventListener?.("online", wake);
        here.document?.removeEventListener?.("visibilitychange", seen);
    };
}
