export { WscClient } from "./client.js";
export { WscError } from "./errors.js";
