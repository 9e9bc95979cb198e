export { WscClient, type ClientEvents, type State, type StateChange } from "./client.js";
export { WscError, type ClientErrorCode, type HubErrorCode } from "./errors.js";
export type { GoingAway, KickOut, Message, OutgoingMessage, Result, ResumeGap, Welcome } from "./frames.js";
export type { BackoffLimits } from "./backoff.js";
export type { ClientOptions, TokenReason } from "./options.js";
export type { OutboxLimits, SendOptions } from "./outbox.js";
export type { Clock, WebSocketConstructor, WebSocketLike } from "./platform.js";
