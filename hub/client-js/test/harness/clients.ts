import type { TestContext } from "node:test";
import { WebSocket as WsPackage } from "ws";
import { WscClient, type ClientOptions, type Message, type StateChange, type WebSocketConstructor } from "../../src/index.js";

const platform = (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket;

/** The implementations that the tests run on: the package ws, and the platform's own where there is one. */
export const implementations: [name: string, WebSocket: WebSocketConstructor][] = [
  ["ws", WsPackage],
  ...(platform ? ([["global", platform]] as [string, WebSocketConstructor][]) : []),
];

/** A client with all that it was told; closed when the test ends. */
export interface Recorder {
  client: WscClient;
  states: StateChange[];
  messages: Message[];
  /** Contents of the messages in the order they came. */
  contents(): (string | undefined)[];
}

export function record(test: TestContext, options: ClientOptions): Recorder {
  const client = new WscClient({ WebSocket: WsPackage, ...options });
  const [states, messages]: [StateChange[], Message[]] = [[], []];
  client.on("state", (change) => states.push(change));
  client.on("message", (message) => messages.push(message));
  test.after(() => client.close());
  return { client, states, messages, contents: () => messages.map(({ content }) => content) };
}
