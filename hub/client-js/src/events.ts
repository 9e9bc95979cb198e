/** Calls handlers by the name of an event; `Events` maps names to what handlers get. */
export class Emitter<Events> {
  readonly #handlers = new Map<keyof Events, Set<(event: never) => unknown>>();

  /** Adds a handler. Gives the function that takes it away again. */
  on<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => unknown): () => void {
    let handlers = this.#handlers.get(name);
    if (!handlers) this.#handlers.set(name, (handlers = new Set()));
    handlers.add(handler);
    return () => this.off(name, handler);
  }

  /** Takes a handler away. */
  off<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => unknown): void {
    this.#handlers.get(name)?.delete(handler);
  }

  /** How many handlers there are. */
  count(name: keyof Events): number {
    return this.#handlers.get(name)?.size ?? 0;
  }

  /** Calls all handlers in the order they were added. Resolves when all are done, rejects with what the first one threw. */
  call<Name extends keyof Events>(name: Name, event: Events[Name]): Promise<void> {
    const running = [...(this.#handlers.get(name) ?? [])].map(async (handler) => {
      await (handler as (event: Events[Name]) => unknown)(event);
    });
    return Promise.all(running).then(() => undefined);
  }
}
