/** Reads a frame; nothing when it is none. */
export function parseFrame(text) {
    if (typeof text !== "string")
        return undefined;
    try {
        const frame = JSON.parse(text);
        const type = frame === null || typeof frame !== "object" ? undefined : frame.message_type;
        return typeof type === "string" ? frame : undefined;
    }
    catch {
        return undefined;
    }
}
