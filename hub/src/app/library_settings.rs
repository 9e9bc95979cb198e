//! Settings of a hub inside another program, by the names that the documentation knows.

use std::{collections::BTreeMap, ffi::OsString};

use super::{Hub, surroundings};
use crate::settings::{self, CATALOGUE, Exit, Settings};

/// Settings that cannot work: every mistake, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct BadSettings(pub Vec<String>);

impl Hub {
    /// Settings by their variables' names, as `wsc-hub --help` lists them; what is not given has its default. The
    /// variables of the process are not read: pass `std::env::vars()` to use them.
    ///
    /// ```
    /// use wsc_hub::app::Hub;
    ///
    /// let settings = Hub::settings([("WSC_AUTH_MODE", "trusted"), ("WSC_NODE_ID", "chat-0")]).unwrap();
    /// assert_eq!(settings.node_id.as_str(), "chat-0");
    ///
    /// let error = Hub::settings([("WSC_AUTH_MODE", "magic"), ("WSC_LEASE", "soon")]).unwrap_err();
    /// assert_eq!(error.0.len(), 2);
    /// ```
    ///
    /// # Errors
    /// [`BadSettings`] with every mistake; a name that begins with `WSC_` and is none of the settings is one.
    pub fn settings<N, V>(variables: impl IntoIterator<Item = (N, V)>) -> Result<Settings, BadSettings>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let variables: BTreeMap<String, String> =
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let known = |name: &str| CATALOGUE.iter().any(|setting| setting.variable == name);
        let mut problems: Vec<_> = variables
            .keys()
            .filter(|name| name.starts_with("WSC_") && !known(name))
            .map(|name| format!("{name}: there is no such setting"))
            .collect();
        let variable = |name: &str| variables.get(name).cloned();
        match settings::parse([OsString::from("wsc-hub")], &variable, &surroundings::detect()) {
            Ok(settings) if problems.is_empty() => Ok(settings),
            Ok(_) => Err(BadSettings(problems)),
            Err(Exit::Bad(found)) => {
                problems.extend(found);
                Err(BadSettings(problems))
            }
            // Only arguments ask for help, and there are none.
            Err(Exit::Help(text)) => Err(BadSettings(vec![text])),
        }
    }
}
