/** Calls handlers by the name of an event; `Events` maps names to what handlers get. */
export class Emitter {
    #handlers = new Map();
    /** Adds a handler. Gives the function that takes it away again. */
    on(name, handler) {
        let handlers = this.#handlers.get(name);
        if (!handlers)
            this.#handlers.set(name, (handlers = new Set()));
        handlers.add(handler);
        return () => this.off(name, handler);
    }
    /** Takes a handler away. */
    off(name, handler) {
        this.#handlers.get(name)?.delete(handler);
    }
    /** How many handlers there are. */
    count(name) {
        return this.#handlers.get(name)?.size ?? 0;
    }
    /** Calls all handlers in the order they were added. Resolves when all are done, rejects with what the first one threw. */
    call(name, event) {
        const running = [...(this.#handlers.get(name) ?? [])].map(async (handler) => {
            await handler(event);
        });
        return Promise.all(running).then(() => undefined);
    }
}
