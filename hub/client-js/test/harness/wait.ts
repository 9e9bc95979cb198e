import type { ClientEvents, WscClient } from "../../src/index.js";

/** Waits until a condition holds; fails with what it was about. */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>, withinMs = 15_000): Promise<void> {
  const end = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Waits for an event that fits; call it before what causes the event. */
export function next<Name extends keyof ClientEvents>(
  client: WscClient,
  name: Name,
  fits: (event: ClientEvents[Name]) => boolean = () => true,
  withinMs = 15_000,
): Promise<ClientEvents[Name]> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      off();
      reject(new Error(`no fitting ${name} within ${withinMs} ms, state ${client.state}`));
    }, withinMs);
    const off = client.on(name, (event) => {
      if (!fits(event)) return;
      clearTimeout(late);
      off();
      resolve(event);
    });
  });
}
