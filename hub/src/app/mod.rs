//! The one place that sees everything: builds, starts, drains, stops.
//!
//! [`hub::Hub`] is the library's face, [`program`] the shipped binary around it.

pub mod cluster_counts;
pub mod error;
mod hot_reload;
pub mod hub;
pub mod hub_builder;
#[cfg(test)]
mod hub_test;
pub mod library_settings;
pub mod program;
pub mod shutdown;
pub mod surroundings;

pub use error::AppError;
pub use hub::Hub;
pub use hub_builder::HubBuilder;
pub use library_settings::BadSettings;
