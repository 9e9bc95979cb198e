//! The description of the API, generated from the types that it speaks, and `GET /openapi.json`.
//!
//! `calls`: one entry per method and path. `bodies`: what a caller writes. `call`: how an entry is written down.
//! `document`: all of it, and the answer. `markdown`: the same for readers.

mod bodies;
mod call;
mod calls;
pub mod document;
#[cfg(test)]
mod drift_test;
pub mod markdown;
