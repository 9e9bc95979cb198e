import { connect, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";

/** Forwards TCP to one address; can let bytes wait, and cut. */
export class Proxy {
  /** Nothing passes, connections stay open. */
  stalled = false;
  address = "";
  /** Connections that were accepted so far. */
  accepted = 0;
  readonly #sockets = new Set<Socket>();

  /** Listens on a free port of loopback until the test ends. */
  static async to(test: TestContext, target: () => string): Promise<Proxy> {
    const proxy = new Proxy();
    const server = createServer((from) => proxy.#forward(from, target()));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    proxy.address = `127.0.0.1:${(server.address() as { port: number }).port}`;
    test.after(() => {
      proxy.cut();
      server.close();
    });
    return proxy;
  }

  get url(): string {
    return `ws://${this.address}/ws`;
  }

  /** Resets all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #forward(from: Socket, target: string): void {
    this.accepted += 1;
    const [host, port] = target.split(":") as [string, string];
    const to = connect(Number(port), host);
    const both: [Socket, Socket][] = [
      [from, to],
      [to, from],
    ];
    for (const [source, sink] of both) {
      this.#sockets.add(source);
      source.setNoDelay(true);
      source.on("data", (bytes) => this.stalled || sink.write(bytes));
      source.on("error", () => sink.destroy());
      source.on("close", () => {
        this.#sockets.delete(source);
        sink.destroy();
      });
    }
  }
}
