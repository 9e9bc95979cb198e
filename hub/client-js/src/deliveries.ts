import { compareOffsets, parseOffset, type Offset } from "./offsets.js";

/** Live messages that are remembered by their id, so that a repeated one is known. */
const REMEMBERED_IDS = 1024;

/** One message in the hands of the handlers. */
export interface Delivery {
  readonly offset: Offset | undefined;
  state: "running" | "done" | "failed";
  /** Answered once the message is dealt with. */
  readonly tokens: string[];
}

/** What to do with a message that came. */
export interface Verdict {
  /** To give to the handlers; absent when it was given before. */
  deliver?: Delivery;
  /** A token to answer at once, because the message was dealt with before. */
  token?: string;
  /** The oldest message that is no longer waited for, since too many were. */
  givenUp?: Offset;
}

/**
 * Which messages were seen and which were dealt with. Stored messages come in the order of their offsets; all up to
 * one of them can be acknowledged when it and those before it are done. One that failed is delivered again when it
 * comes again.
 */
export class Deliveries {
  readonly #maxOpen: number;
  readonly #live = new Map<string, Delivery>();
  /** Stored messages in their order, from the oldest that is not done. */
  #open: Delivery[] = [];
  #seen: Offset | undefined;
  #handled: Offset | undefined;

  /** `after`: what was dealt with in an earlier life. */
  constructor(maxOpen: number, after?: string) {
    this.#maxOpen = maxOpen;
    this.#seen = this.#handled = parseOffset(after);
  }

  /** The newest offset up to which everything is dealt with. */
  get handled(): string | undefined {
    return this.#handled?.text;
  }

  /** From where to go on after a reconnect: what failed has to come again, what is being handled has not. */
  get resumeAfter(): string | undefined {
    return this.#open.some((delivery) => delivery.state === "failed") ? this.#handled?.text : this.#seen?.text;
  }

  /** A message came. */
  take(id: string | undefined, offsetText: string | undefined, token: string | undefined): Verdict {
    const offset = parseOffset(offsetText);
    const known = offset ? this.#knownStored(offset) : this.#live.get(id ?? "");
    if (known) return this.#again(known === "done" ? undefined : known, token);
    const delivery: Delivery = { offset, state: "running", tokens: token === undefined ? [] : [token] };
    if (offset) return { deliver: delivery, ...this.#open_(delivery, offset) };
    if (id !== undefined) {
      this.#live.set(id, delivery);
      const oldest = this.#live.size > REMEMBERED_IDS ? this.#live.keys().next().value : undefined;
      if (oldest !== undefined) this.#live.delete(oldest);
    }
    return { deliver: delivery };
  }

  /** The handlers are done with a message. Gives the tokens to answer. */
  settle(delivery: Delivery, well: boolean): string[] {
    if (delivery.state !== "running") return [];
    delivery.state = well ? "done" : "failed";
    this.#advance();
    return well ? delivery.tokens.splice(0) : [];
  }

  #knownStored(offset: Offset): Delivery | "done" | undefined {
    const seen = this.#seen;
    if (!seen || seen.epoch !== offset.epoch || compareOffsets(offset, seen) > 0) return undefined;
    return this.#open.find((delivery) => delivery.offset?.text === offset.text) ?? "done";
  }

  #again(known: Delivery | undefined, token: string | undefined): Verdict {
    if (!known || known.state === "done") return token === undefined ? {} : { token };
    if (token !== undefined) known.tokens.push(token);
    if (known.state === "running") return {};
    known.state = "running";
    return { deliver: known };
  }

  #open_(delivery: Delivery, offset: Offset): { givenUp?: Offset } {
    if (this.#seen && this.#seen.epoch !== offset.epoch) {
      // Another inbox: nothing of the old one can be acknowledged any more.
      this.#open = [];
      this.#handled = undefined;
    }
    this.#seen = offset;
    this.#open.push(delivery);
    if (this.#open.length <= this.#maxOpen) return {};
    const oldest = this.#open.shift()?.offset;
    this.#handled = oldest;
    this.#advance();
    return oldest ? { givenUp: oldest } : {};
  }

  #advance(): void {
    const waiting = this.#open.findIndex((delivery) => delivery.state !== "done");
    const done = this.#open.splice(0, waiting < 0 ? this.#open.length : waiting);
    this.#handled = done.at(-1)?.offset ?? this.#handled;
  }
}
