//! A node sends its clients elsewhere: Serving -> Draining -> Closed.
//!
//! [`pace`] decides how many connections are due, [`control`] takes orders, [`worker`] carries them out.

pub mod control;
pub mod pace;
pub mod worker;
