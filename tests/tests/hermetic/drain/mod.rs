//! A node sends its clients elsewhere: by order, by a signal, while messages are sent to them.

mod events;
mod leavers;
mod moving;
mod orders;
mod pace;
mod rolling;
mod signals;
