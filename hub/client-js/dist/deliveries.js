import { compareOffsets, parseOffset } from "./offsets.js";
/** Live messages that are remembered by their id, so that a repeated one is known. */
const REMEMBERED_IDS = 1024;
/**
 * Which messages were seen and which were dealt with. Stored messages come in the order of their offsets; all up to
 * one of them can be acknowledged when it and those before it are done. One that failed is delivered again when it
 * comes again.
 */
export class Deliveries {
    #maxOpen;
    #live = new Map();
    /** Stored messages in their order, from the oldest that is not done. */
    #open = [];
    #seen;
    #handled;
    /** `after`: what was dealt with in an earlier life. */
    constructor(maxOpen, after) {
        this.#maxOpen = maxOpen;
        this.#seen = this.#handled = parseOffset(after);
    }
    /** The newest offset up to which everything is dealt with. */
    get handled() {
        return this.#handled?.text;
    }
    /** From where to go on after a reconnect: what failed has to come again, what is being handled has not. */
    get resumeAfter() {
        return this.#open.some((delivery) => delivery.state === "failed") ? this.#handled?.text : this.#seen?.text;
    }
    /** A message came. */
    take(id, offsetText, token) {
        const offset = parseOffset(offsetText);
        const known = offset ? this.#knownStored(offset) : this.#live.get(id ?? "");
        if (known)
            return this.#again(known === "done" ? undefined : known, token);
        const delivery = { offset, state: "running", tokens: token === undefined ? [] : [token] };
        if (offset)
            return { deliver: delivery, ...this.#open_(delivery, offset) };
        if (id !== undefined) {
            this.#live.set(id, delivery);
            const oldest = this.#live.size > REMEMBERED_IDS ? this.#live.keys().next().value : undefined;
            if (oldest !== undefined)
                this.#live.delete(oldest);
        }
        return { deliver: delivery };
    }
    /** The handlers are done with a message. Gives the tokens to answer. */
    settle(delivery, well) {
        if (delivery.state !== "running")
            return [];
        delivery.state = well ? "done" : "failed";
        this.#advance();
        return well ? delivery.tokens.splice(0) : [];
    }
    #knownStored(offset) {
        const seen = this.#seen;
        if (!seen || seen.epoch !== offset.epoch || compareOffsets(offset, seen) > 0)
            return undefined;
        return this.#open.find((delivery) => delivery.offset?.text === offset.text) ?? "done";
    }
    #again(known, token) {
        if (!known || known.state === "done")
            return token === undefined ? {} : { token };
        if (token !== undefined)
            known.tokens.push(token);
        if (known.state === "running")
            return {};
        known.state = "running";
        return { deliver: known };
    }
    #open_(delivery, offset) {
        if (this.#seen && this.#seen.epoch !== offset.epoch) {
            // Another inbox: nothing of the old one can be acknowledged any more.
            this.#open = [];
            this.#handled = undefined;
        }
        this.#seen = offset;
        this.#open.push(delivery);
        if (this.#open.length <= this.#maxOpen)
            return {};
        const oldest = this.#open.shift()?.offset;
        this.#handled = oldest;
        this.#advance();
        return oldest ? { givenUp: oldest } : {};
    }
    #advance() {
        const waiting = this.#open.findIndex((delivery) => delivery.state !== "done");
        const done = this.#open.splice(0, waiting < 0 ? this.#open.length : waiting);
        this.#handled = done.at(-1)?.offset ?? this.#handled;
    }
}
