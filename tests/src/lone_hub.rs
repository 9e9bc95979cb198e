//! One hub with no Redis.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::{
    api_client::ApiClient,
    hub_fleet::{API_KEY, api_keys},
    hub_process::{HubOptions, HubProcess},
    scratch_dir::ScratchDir,
    tokens,
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

/// Secret of the token key `default.key` of [`LoneHub::with_tokens`].
pub const TOKEN_SECRET: &str = "token-secret-of-the-tests-0123456789abcdef";

/// A hub that is alone, with API keys.
#[derive(Debug)]
pub struct LoneHub {
    /// The process.
    pub hub: HubProcess,
    /// Folder of the token keys, in mode token.
    pub token_keys: ScratchDir,
    /// Folder of the API keys.
    pub api_keys: ScratchDir,
}

impl LoneHub {
    /// In mode trusted.
    ///
    /// # Errors
    /// When it does not become healthy.
    pub async fn trusted(change: impl FnOnce(HubOptions) -> HubOptions) -> Result<Self> {
        Self::start(|options| change(options.set("WSC_AUTH_MODE", "trusted"))).await
    }

    /// In mode token, with the key `default.key`.
    ///
    /// # Errors
    /// When it does not become healthy.
    pub async fn with_tokens(change: impl FnOnce(HubOptions) -> HubOptions) -> Result<Self> {
        let token_keys = ScratchDir::new("token-keys")?;
        token_keys.write("default.key", TOKEN_SECRET)?;
        let path = token_keys.path().to_owned();
        let lone = Self::start(|options| change(options.set_path("WSC_AUTH_KEYS_DIR", &path))).await?;
        Ok(Self { token_keys, ..lone })
    }

    async fn start(change: impl FnOnce(HubOptions) -> HubOptions) -> Result<Self> {
        let api_keys = api_keys()?;
        let options = change(HubOptions::node("lone").set_path("WSC_API_KEYS_DIR", api_keys.path()));
        let hub = HubProcess::ready(&options).await?;
        Ok(Self { hub, token_keys: ScratchDir::new("no-token-keys")?, api_keys })
    }

    /// The control API.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn api(&self) -> Result<ApiClient> {
        self.hub.api(API_KEY)
    }

    /// Connects a user in mode token.
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub async fn connect_with(&self, claims: &Value) -> Result<WsClient> {
        let token = tokens::sign(jsonwebtoken::Algorithm::HS256, None, TOKEN_SECRET, claims)?;
        WsClient::connect(self.hub.client, &WsRequest::token(&token)).await
    }

    /// Waits until `/health` counts this many connections.
    ///
    /// # Errors
    /// After `within`, with the last answer.
    pub async fn connections(&self, count: u64, within: Duration) -> Result<()> {
        let http = self.hub.client_http()?;
        eventually(&format!("{count} connections are left"), within, async || {
            let health = http.get("/health").await?.ok()?;
            Ok(Look::when(health["websocket_count"] == count, (), health))
        })
        .await
    }
}
