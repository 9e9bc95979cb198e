//! Conformance with RFC 6455 over raw sockets, as a table; each row names the section it is about.
//!
//! | file | sections |
//! |---|---|
//! | `handshake` | 4.1, 4.2, 4.4, 9.1, 11.3: the request, its answers, extensions, subprotocols |
//! | `framing` | 5.1, 5.2, 5.6, 5.8: lengths, masks, reserved bits and opcodes, text and binary |
//! | `control` | 5.5: pings, pongs |
//! | `fragmentation` | 5.4: fragments, and control frames between them |
//! | `utf8` | 5.6, 8.1: valid and invalid text, every split point |
//! | `closing` | 5.5.1, 7: codes, reasons, who ends TCP |
//! | `limits` | 7.4.1, 10.4: messages over the limit, frames that announce too much, pings nobody reads answers to, clients that read late |

mod case;
mod closing;
mod control;
mod fragmentation;
mod framing;
mod handshake;
mod limits;
mod utf8;
