// The chat page of `wsc-hub --dev`: what a user sees of the hub, with the library as anyone would use it.
// Texts of others are put in as text only, never as markup.
import { WscClient, type Message, type OutgoingMessage, type StateChange } from "../src/index.js";

/** Lines that are kept on the page. */
const MAX_LINES = 500;

function find<Kind extends HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

const [log, state, joined] = [find<HTMLOListElement>("log"), find("state"), find("joined")];
const [name, target, text, room] = ["name", "target", "text", "room"].map((id) => find<HTMLInputElement>(id)) as [
  HTMLInputElement,
  HTMLInputElement,
  HTMLInputElement,
  HTMLInputElement,
];
const [kind, toggle] = [find<HTMLSelectElement>("kind"), find<HTMLButtonElement>("toggle")];

let client: WscClient | undefined;
let connects = 0;

function part(className: string, content: string): HTMLSpanElement {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = content;
  return span;
}

function line(className: string, ...parts: (Node | string)[]): HTMLLIElement {
  const item = document.createElement("li");
  item.className = className;
  item.append(...parts);
  log.append(item);
  while (log.childElementCount > MAX_LINES) log.firstElementChild?.remove();
  item.scrollIntoView({ block: "end" });
  return item;
}

function notice(content: string): void {
  line("notice", content);
}

function show(message: Message): void {
  const where = message.group ? `in ${message.group}` : message.receiver ? "to you" : "to all";
  const content = message.content ?? JSON.stringify(message.data ?? null);
  line("message", part("sender", message.sender ?? "the backend"), part("where", where), part("content", content));
}

function showState({ state: word, retryInMs, code, reason, error }: StateChange): void {
  const why = [code === undefined ? "" : `code ${code}`, reason, error?.message].filter(Boolean).join(", ");
  const wait = retryInMs === undefined ? "" : `, again in ${(retryInMs / 1000).toFixed(1)} s`;
  const node = word === "online" ? ` on ${client?.welcome?.node_id}` : "";
  state.dataset.state = word;
  state.textContent = `${word}${node}${wait}`;
  toggle.textContent = word === "closed" ? "Connect" : "Disconnect";
  name.disabled = word !== "closed";
  if (word === "online") {
    connects += 1;
    state.dataset.connects = String(connects);
    notice(connects === 1 ? `connected as ${name.value}` : "connected again");
  } else if (why !== "") notice(`${word}: ${why}${wait}`);
}

function showGroups(): void {
  joined.textContent = client?.groups.length ? `joined: ${client.groups.join(", ")}` : "";
}

/** A device for each tab, the same after it is loaded again. */
function device(): string {
  const known = sessionStorage.getItem("device") ?? `page-${Math.random().toString(36).slice(2)}`;
  sessionStorage.setItem("device", known);
  return known;
}

function connect(): void {
  connects = 0;
  client = new WscClient({ url: new URL("ws", location.href), userId: name.value, clientId: device(), groups: ["lobby"] });
  client.on("state", showState);
  client.on("message", show);
  client.on("error", (error) => notice(`${error.code}: ${error.message}`));
  client.on("going_away", ({ data }) => notice(`the node goes away: ${data?.reason ?? "no reason"}`));
  client.on("kick_out", ({ content, data }) => notice(`kicked: ${content ?? data?.reason ?? "no reason"}`));
  client.on("replaced", () => notice("this device connected anew elsewhere"));
  client.on("resume_gap", () => notice("some stored messages are lost"));
  showGroups();
  void client.connect();
}

find<HTMLFormElement>("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  if (client && client.state !== "closed") client.close();
  else connect();
});

find<HTMLFormElement>("send").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!client) return notice("connect first");
  const [content, to] = [text.value, target.value];
  const message: OutgoingMessage = kind.value === "group" ? { group: to, content } : { receiver: to, content };
  const outcome = part("outcome", "…");
  const where = part("where", kind.value === "group" ? `in ${to}` : `to ${to}`);
  line("own", part("sender", name.value), where, part("content", content), outcome);
  text.value = "";
  client.send(message).then(
    ({ status, connections }) => (outcome.textContent = `${status}, connections: ${connections ?? 0}`),
    (error: Error) => (outcome.textContent = error.message),
  );
});

find<HTMLFormElement>("rooms").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!client) return notice("connect first");
  const wish = room.value;
  client.join(wish).then(
    () => notice(`joined ${wish}`),
    (error: Error) => notice(`cannot join ${wish}: ${error.message}`),
  );
  target.value = wish;
  kind.value = "group";
  room.value = "";
  showGroups();
});

name.value = `guest-${Math.floor(Math.random() * 1000)}`;
