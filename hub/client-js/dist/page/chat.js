// page/chat.ts
import { WscClient } from "./wsc-client.min.js";
var MAX_LINES = 500;
function find(id) {
  return document.getElementById(id);
}
var [log, state, joined] = [find("log"), find("state"), find("joined")];
var [name, target, text, room] = ["name", "target", "text", "room"].map((id) => find(id));
var [kind, toggle] = [find("kind"), find("toggle")];
var client;
var connects = 0;
function part(className, content) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = content;
  return span;
}
function line(className, ...parts) {
  const item = document.createElement("li");
  item.className = className;
  item.append(...parts);
  log.append(item);
  while (log.childElementCount > MAX_LINES) log.firstElementChild?.remove();
  item.scrollIntoView({ block: "end" });
  return item;
}
function notice(content) {
  line("notice", content);
}
function show(message) {
  const where = message.group ? `in ${message.group}` : message.receiver ? "to you" : "to all";
  const content = message.content ?? JSON.stringify(message.data ?? null);
  line("message", part("sender", message.sender ?? "the backend"), part("where", where), part("content", content));
}
function showState({ state: word, retryInMs, code, reason, error }) {
  const why = [code === void 0 ? "" : `code ${code}`, reason, error?.message].filter(Boolean).join(", ");
  const wait = retryInMs === void 0 ? "" : `, again in ${(retryInMs / 1e3).toFixed(1)} s`;
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
function showGroups() {
  joined.textContent = client?.groups.length ? `joined: ${client.groups.join(", ")}` : "";
}
function device() {
  const known = sessionStorage.getItem("device") ?? `page-${Math.random().toString(36).slice(2)}`;
  sessionStorage.setItem("device", known);
  return known;
}
function connect() {
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
find("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  if (client && client.state !== "closed") client.close();
  else connect();
});
find("send").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!client) return notice("connect first");
  const [content, to] = [text.value, target.value];
  const message = kind.value === "group" ? { group: to, content } : { receiver: to, content };
  const outcome = part("outcome", "…");
  const where = part("where", kind.value === "group" ? `in ${to}` : `to ${to}`);
  line("own", part("sender", name.value), where, part("content", content), outcome);
  text.value = "";
  client.send(message).then(
    ({ status, connections }) => outcome.textContent = `${status}, connections: ${connections ?? 0}`,
    (error) => outcome.textContent = error.message
  );
});
find("rooms").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!client) return notice("connect first");
  const wish = room.value;
  client.join(wish).then(
    () => notice(`joined ${wish}`),
    (error) => notice(`cannot join ${wish}: ${error.message}`)
  );
  target.value = wish;
  kind.value = "group";
  room.value = "";
  showGroups();
});
name.value = `guest-${Math.floor(Math.random() * 1e3)}`;
