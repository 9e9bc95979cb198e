//! The health that Argo CD shows for a `WscCluster`: `docs/argocd-health.lua`, run as Argo CD runs it.

use anyhow::{Context as _, Result, anyhow};
use mlua::{Lua, LuaOptions, LuaSerdeExt as _, SerializeOptions, StdLib, Table};
use serde_json::Value;

use crate::source_tree;

/// What the script says of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgoHealth {
    /// Healthy, Progressing, Degraded or Suspended.
    pub status: String,
    /// A sentence.
    pub message: String,
}

impl ArgoHealth {
    /// Runs the script. As in Argo CD the resource is the global `obj`, and a script may use tables and little else.
    ///
    /// # Errors
    /// When the script is missing, fails or returns something else.
    pub fn of(resource: &Value) -> Result<Self> {
        let path = source_tree::root().join("docs/argocd-health.lua");
        let script =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let run = || -> mlua::Result<Self> {
            let lua = Lua::new_with(StdLib::TABLE, LuaOptions::default())?;
            let absent = SerializeOptions::new().serialize_none_to_null(false).serialize_unit_to_null(false);
            lua.globals().set("obj", lua.to_value_with(resource, absent)?)?;
            let said: Table = lua.load(&script).set_name("argocd-health.lua").eval()?;
            Ok(Self { status: said.get("status")?, message: said.get("message")? })
        };
        // An error of Lua may not leave its thread.
        run().map_err(|error| anyhow!("{error}"))
    }
}
