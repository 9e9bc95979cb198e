//! A web server with routes of its own that carries a hub: clients connect at `/ws`, and a route of the
//! server sends through the hub without any HTTP between.
//!
//! ```text
//! cargo run --release --package wsc-hub --example embedded
//! websocat 'ws://127.0.0.1:8080/ws?user_id=alice'
//! curl -d 'tea is ready' http://127.0.0.1:8080/notify/alice
//! ```
//!
//! The variables of `wsc-hub` act here too: with `WSC_REDIS_URL` several of these servers form one cluster.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use wsc_hub::{
    app::Hub,
    identity::UserId,
    protocol::{
        message::{Message, SendOptions},
        send_result::SendResult,
    },
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    // Development: clients are taken for whoever they say they are. With WSC_AUTH_MODE=token they bring a JWT.
    let defaults = [("WSC_AUTH_MODE", "trusted"), ("WSC_CLIENT_ADDR", "127.0.0.1:8080")];
    let given = std::env::vars().filter(|(name, _)| name.starts_with("WSC_"));
    let variables =
        defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().chain(given);
    let settings = Hub::settings(variables)?;
    let address = settings.client_addr;
    let hub = Arc::new(Hub::builder(settings).without_listeners().start().await?);

    let app = Router::new()
        .route("/notify/{user}", post(notify))
        .with_state(Arc::clone(&hub))
        // The hub's routes: /ws, /health, /livez.
        .merge(hub.router());
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "listening");

    // The hub says goodbye to its clients first: their connections are the server's to wait for.
    let goodbye = async move {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
        let terminated = async {
            match &mut terminate {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = terminated => {}
        }
        hub.shutdown(Duration::from_secs(10)).await;
    };
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(goodbye).await?;
    Ok(())
}

/// Sends the body to a user and answers what became of it.
async fn notify(
    State(hub): State<Arc<Hub>>,
    Path(user): Path<String>,
    text: String,
) -> Result<Json<SendResult>, (StatusCode, String)> {
    let user = UserId::new(user).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let message = Message::text(&text);
    Ok(Json(hub.send_to_user_with_retry(&user, &message, &SendOptions::default()).await))
}
