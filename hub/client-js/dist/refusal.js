import { WscError } from "./errors.js";
/** Most bytes of an error body that are read. */
const MAX_BODY = 8192;
/**
 * Reports how the hub refused a connect, where the WebSocket tells: that of the package `ws` does. Browsers and Node's own
 * hide it, there a refusal looks like a hub that cannot be reached.
 */
export function watchRefusal(socket, refused) {
    const emitter = socket;
    emitter.on?.("unexpected-response", (request, answer) => {
        let body = "";
        const finish = () => {
            request.destroy();
            refused(refusal(answer.statusCode, answer.headers["retry-after"], body));
        };
        answer.on("data", (chunk) => {
            body += chunk.toString();
            if (body.length > MAX_BODY)
                finish();
        });
        answer.on("end", finish);
        answer.on("error", finish);
        answer.on("close", finish);
    });
}
/** What a refusal says: the hub's error body (RFC 9457), or that of a proxy in between. */
export function refusal(status, retryAfter, body) {
    let problem = {};
    try {
        problem = JSON.parse(body) ?? {};
    }
    catch {
        // Not the hub's.
    }
    const seconds = typeof retryAfter === "string" && /^[0-9]+$/.test(retryAfter) ? Number(retryAfter) : undefined;
    const code = typeof problem.code === "string" ? problem.code : "no_connection";
    const message = `the connect was refused with status ${status}: ${problem.detail ?? "no reason given"}`;
    return new WscError(code, message, {
        ...(status === undefined ? {} : { status }),
        ...(seconds === undefined ? {} : { retryAfterMs: seconds * 1000 }),
    });
}
