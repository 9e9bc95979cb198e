//! The library's face, over real sockets.

use std::{net::SocketAddr, time::Duration};

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::{connect_async, tungstenite::Message};

use super::Hub;
use crate::{
    app::surroundings,
    identity::UserId,
    protocol::{
        message::{KickRequest, parse_send},
        send_result::SendStatus,
    },
    settings::{self, Settings},
};

const PATIENCE: Duration = Duration::from_secs(10);

fn settings() -> Settings {
    let flags = [
        "wsc-hub",
        "--dev",
        "--node-id",
        "lib-0",
        "--client-addr",
        "127.0.0.1:0",
        "--api-addr",
        "127.0.0.1:0",
    ];
    settings::parse(flags.map(Into::into), &|_| None, &surroundings::detect()).unwrap()
}

async fn next(
    socket: &mut (impl StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin),
) -> Message {
    tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

async fn next_json(
    socket: &mut (impl StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin),
) -> Value {
    serde_json::from_str(next(socket).await.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn a_hub_serves_its_routes_from_somebody_elses_server() {
    let hub = Hub::builder(settings()).without_listeners().start().await.unwrap();
    assert_eq!((hub.client_addr(), hub.api_addr()), (None, None));
    hub.registered().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = hub.router().into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });

    let (mut alice, _) = connect_async(format!("ws://{address}/ws?user_id=alice")).await.unwrap();
    assert_eq!(next_json(&mut alice).await["message_type"], "welcome");
    let user = UserId::new("alice").unwrap();
    let (message, options) = parse_send(br#"{"content":"hi"}"#).unwrap();
    let result = hub.send_to_user_with_retry(&user, &message, &options).await;
    assert_eq!((result.status, result.connections), (SendStatus::Delivered, 1));
    assert_eq!(next_json(&mut alice).await["content"], "hi");
    assert_eq!(hub.broadcast(&message, &options).await.connections, 1);
    assert_eq!(next_json(&mut alice).await["content"], "hi");

    let location = hub.user_location(&user).await.unwrap();
    assert!(location.connections[0].remote_address.starts_with("127.0.0.1:"), "{location:?}");
    assert_eq!(hub.user_nodes(&user).await.unwrap()[0].as_str(), "lib-0");
    assert_eq!(hub.discover_nodes().await.unwrap().len(), 1);
    assert_eq!(hub.health().websocket_count, 1);

    assert_eq!(hub.kick_user(&user, &KickRequest::default()).await.unwrap().kicked_connections, 1);
    let Message::Close(Some(close)) = next(&mut alice).await else { unreachable!("not a close frame") };
    assert_eq!(u16::from(close.code), 4001);
    hub.shutdown(PATIENCE).await;
    assert!(!hub.health().is_ready());
    server.abort();
}

#[tokio::test]
async fn shutdown_sends_clients_away_and_closes_the_listeners() {
    let hub = Hub::builder(settings()).start().await.unwrap();
    let address = hub.client_addr().unwrap();
    hub.registered().await;
    let (mut alice, _) = connect_async(format!("ws://{address}/ws?user_id=alice")).await.unwrap();
    assert_eq!(next_json(&mut alice).await["message_type"], "welcome");
    alice.send(Message::text(r#"{"receiver":"bob","message_id":"m1"}"#)).await.unwrap();
    assert_eq!(next_json(&mut alice).await["status"], "offline");
    let reading = async {
        let notice = next_json(&mut alice).await;
        (notice, next(&mut alice).await, alice.next().await.is_none())
    };
    let ((notice, close, ended), ()) = tokio::join!(reading, hub.shutdown(PATIENCE));
    assert_eq!(notice["message_type"], "going_away");
    let Message::Close(Some(close)) = close else { unreachable!("not a close frame") };
    assert_eq!(u16::from(close.code), 1012);
    assert!(ended);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
