import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** A program under test with all that it wrote. */
export class Program {
  readonly #process: ChildProcess;
  output = "";

  private constructor(process: ChildProcess) {
    this.#process = process;
    process.stderr?.on("data", (chunk: Buffer) => (this.output += chunk.toString()));
  }

  /** Starts a program and waits for a line on its standard output; gives what `pick` makes of it. */
  static async start<Found>(
    path: string,
    args: string[],
    env: Record<string, string>,
    pick: (line: string) => Found | undefined,
  ): Promise<[Program, Found]> {
    const child = spawn(path, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    const program = new Program(child);
    const found = await new Promise<Found>((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`${path} ${why}\n${program.output}`));
      const late = setTimeout(() => fail("does not say that it is ready within 20 s"), 20_000);
      child.once("error", (error) => fail(`cannot be started: ${error.message}`));
      child.once("exit", (code) => fail(`ended with ${code}`));
      createInterface({ input: child.stdout! }).on("line", (line) => {
        program.output += `${line}\n`;
        const found = pick(line);
        if (found === undefined) return;
        clearTimeout(late);
        resolve(found);
      });
    }).catch((error: unknown) => {
      child.kill("SIGKILL");
      throw error;
    });
    return [program, found];
  }

  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Sends a signal and waits for the end; gives the exit status, or nothing after a signal that kills. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    if (this.running) {
      const ended = once(this.#process, "exit");
      this.#process.kill(signal);
      await ended;
    }
    return this.#process.exitCode;
  }
}
