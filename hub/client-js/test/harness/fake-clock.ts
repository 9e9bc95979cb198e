import type { Clock } from "../../src/index.js";

/** Lets everything run that waits for promises only. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** A clock that stands still until it is moved. */
export class FakeClock implements Clock {
  #now = 0;
  #counter = 0;
  readonly #timers = new Map<number, { at: number; run: () => void }>();

  /** Timers that are set; a closed client has none. */
  get timers(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#now;
  }

  setTimeout(run: () => void, ms: number): unknown {
    this.#counter += 1;
    this.#timers.set(this.#counter, { at: this.#now + ms, run });
    return this.#counter;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as number);
  }

  /** Moves on by so many milliseconds and runs what becomes due, in order. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end);
      due.sort(([a, one], [b, other]) => one.at - other.at || a - b);
      const [next] = due;
      if (!next) break;
      this.#timers.delete(next[0]);
      this.#now = next[1].at;
      next[1].run();
    }
    this.#now = end;
    await settle();
  }
}
