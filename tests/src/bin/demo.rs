//! Placeholder until built below.
fn main() {}
