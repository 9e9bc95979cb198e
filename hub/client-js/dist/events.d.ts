/** Calls handlers by the name of an event; `Events` maps names to what handlers get. */
export declare class Emitter<Events> {
    #private;
    /** Adds a handler. Gives the function that takes it away again. */
    on<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => unknown): () => void;
    /** Takes a handler away. */
    off<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => unknown): void;
    /** How many handlers there are. */
    count(name: keyof Events): number;
    /** Calls all handlers in the order they were added. Resolves when all are done, rejects with what the first one threw. */
    call<Name extends keyof Events>(name: Name, event: Events[Name]): Promise<void>;
}
