//! Bytes on the channels that no hub of this release would send.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use wsc_tests::{hub_fleet::HubFleet, ws_client::PATIENCE};

use super::crowd::Crowd;

/// A batch as `hub/src/protocol/envelope_batch.rs` documents it, with any part wrong.
struct Bytes(Vec<u8>);

impl Bytes {
    fn batch(version: u8, node: &str, incarnation: &str, sequence: u64) -> Self {
        let mut bytes = vec![version];
        for part in [node, incarnation] {
            bytes.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
            bytes.extend(part.as_bytes());
        }
        bytes.extend(sequence.to_le_bytes());
        Self(bytes)
    }

    /// Of a node that nobody ever saw.
    fn of_a_stranger(sequence: u64) -> Self {
        Self::batch(1, "stranger", "ab12.1", sequence)
    }

    fn envelope(self, kind: u8, flags: u8, subject: &[u8], payload: &[u8]) -> Self {
        let length = u32::try_from(1 + 1 + 8 + 1 + subject.len() + payload.len()).unwrap_or(u32::MAX);
        self.announcing(length, kind, flags, subject, payload)
    }

    /// An envelope whose announced length may be wrong.
    fn announcing(mut self, length: u32, kind: u8, flags: u8, subject: &[u8], payload: &[u8]) -> Self {
        self.0.extend(length.to_le_bytes());
        self.0.extend([kind, flags]);
        self.0.extend(7u64.to_le_bytes());
        self.0.push(u8::try_from(subject.len()).unwrap_or(u8::MAX));
        self.0.extend(subject);
        self.0.extend(payload);
        self
    }
}

/// No batch at all: each is counted once per channel.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let batch = |version| Bytes::batch(version, "stranger", "ab12.1", 1);
    vec![
        ("nothing", vec![]),
        ("one zero", vec![0]),
        ("words", b"not a batch".to_vec()),
        ("a thousand FF", vec![0xFF; 1000]),
        ("a megabyte of zeros", vec![0; 1 << 20]),
        ("version 0", batch(0).0),
        ("version 2", batch(2).envelope(1, 0, b"alice", b"{}").0),
        ("version 255", batch(255).0),
        ("a header cut short", batch(1).0[..12].to_vec()),
        ("a node that is no name", Bytes::batch(1, "No Name!", "ab12.1", 1).0),
        ("an incarnation that is none", Bytes::batch(1, "stranger", "x", 1).0),
        ("an envelope of 4 GiB", batch(1).announcing(u32::MAX, 1, 1, b"alice", b"{}").0),
        ("an envelope of 2 GiB", batch(1).announcing(1 << 31, 1, 1, b"alice", b"{}").0),
        ("an envelope of no bytes", batch(1).announcing(0, 1, 1, b"alice", b"{}").0),
        ("an envelope one byte too long", batch(1).announcing(19, 1, 1, b"alice", b"{}").0),
        ("a user that is none", batch(1).envelope(1, 1, b"a b", b"{}").0),
        ("a user that is not UTF-8", batch(1).envelope(1, 1, b"\xFF\xFE", b"{}").0),
        (
            "a good envelope, then a broken one",
            batch(1).envelope(1, 0, b"here-0", b"{\"content\":\"half\"}").announcing(9, 1, 0, b"", b"").0,
        ),
    ]
}

/// Batches whose layout is good and whose content makes no sense.
fn senseless() -> Vec<(&'static str, Vec<u8>)> {
    let mut rows = vec![
        ("a delivery with no user", Bytes::of_a_stranger(1).envelope(1, 1, b"", b"{}").0),
        ("a delivery that is not UTF-8", Bytes::of_a_stranger(2).envelope(1, 1, b"here-0", b"\xFF\xFE").0),
        ("a broadcast that is not UTF-8", Bytes::of_a_stranger(3).envelope(3, 1, b"", b"\xFF\xFE").0),
        ("a report of nothing", Bytes::of_a_stranger(4).envelope(2, 0, b"", &[0; 17]).0),
        ("a report cut short", Bytes::of_a_stranger(5).envelope(2, 0, b"", &[0; 3]).0),
        ("a report of an unknown status", Bytes::of_a_stranger(6).envelope(2, 0, b"", &[9; 17]).0),
        ("a kick cut short", Bytes::of_a_stranger(7).envelope(4, 1, b"here-0", &[0xFF, 0xFF, 1]).0),
        ("a kick of nobody", Bytes::of_a_stranger(8).envelope(4, 1, b"nobody", &[0, 0]).0),
        ("a kick with no user", Bytes::of_a_stranger(9).envelope(4, 1, b"", &[0, 0]).0),
        ("a sequence that ends", Bytes::of_a_stranger(u64::MAX).envelope(6, 0, b"", b"").0),
        ("a sequence that begins again", Bytes::of_a_stranger(0).envelope(6, 0, b"", b"").0),
        ("every flag", Bytes::of_a_stranger(10).envelope(6, 0xFF, b"", b"").0),
    ];
    // Changes of presence, memberships, questions about members, and whatever else has a payload of its own.
    for kind in [5, 7, 8, 9, 10] {
        for payload in [&b""[..], &[0], &[0xFF; 40], b"text"] {
            rows.push((
                "a payload that is none",
                Bytes::of_a_stranger(11).envelope(kind, 1, b"here-0", payload).0,
            ));
            rows.push(("the same with no user", Bytes::of_a_stranger(12).envelope(kind, 1, b"", payload).0));
        }
    }
    rows
}

#[tokio::test]
async fn bad_bytes_are_counted_logged_at_most_once_and_ignored() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let crowd = Crowd::connect(&fleet.hubs[0], "here", 5).await?;
    let api = fleet.api(0)?;
    let mut redis = fleet.redis.connection().await?;
    let channels = ["wsc:node:{node-0}", "wsc:broadcast"];
    let mut count = 0;
    for (what, bytes) in malformed() {
        for channel in channels {
            let heard: i64 = redis::cmd("PUBLISH").arg(channel).arg(&bytes).query_async(&mut redis).await?;
            ensure!(heard > 0, "nobody listens on {channel} for {what}");
            count += 1;
        }
    }
    let mut publish = redis::pipe();
    let rows = senseless();
    for (_, bytes) in &rows {
        for channel in channels {
            publish.publish(channel, bytes).ignore();
        }
    }
    // Kinds of a newer release are passed over, one by one.
    let unknown =
        (200..=255u8).fold(Bytes::of_a_stranger(13), |batch, kind| batch.envelope(kind, 3, b"here-0", b"?"));
    publish.publish(channels[0], &unknown.0).ignore();
    // More sources than are remembered, each with a name of its own.
    for number in 0..6000 {
        let batch =
            Bytes::batch(1, &format!("stranger-{number}"), "ab12.1", 9).envelope(1, 1, b"nobody", b"{}");
        publish.publish(channels[0], &batch.0).ignore();
    }
    publish.exec_async(&mut redis).await?;

    // Behind all of that on the same channel.
    let sent = fleet.api(1)?.send("here-0", "still fine").await?;
    assert_eq!((&sent["status"], &sent["connections"]), (&json!("delivered"), &json!(1)), "{sent}");
    let result = fleet.api(1)?.broadcast("all still here").await?;
    assert_eq!((&result["status"], &result["connections"]), (&json!("complete"), &json!(5)), "{result}");
    crowd.each_got_once("all still here", PATIENCE).await?;
    let malformed = api.metric("wsc_bus_malformed_total").await?;
    let unknown = api.metric("wsc_bus_unknown_kinds_total").await?;
    let output = fleet.hubs[0].output();
    let lines = output.lines().filter(|line| line.contains("no batch")).count();
    println!(
        "{count} messages that are no batch: {malformed} counted, {lines} lines in the log; {} senseless batches, \
         {unknown} envelopes of unknown kinds, 6,000 strangers",
        rows.len() * 2
    );
    assert!(malformed >= count, "{malformed} of {count} are counted");
    assert_eq!(lines, 1, "logged at most once a minute");
    assert_eq!(unknown, 56, "each unknown kind is counted");
    assert_eq!(crowd.ended(), Vec::<String>::new(), "nobody was kicked by nonsense");
    assert_eq!(crowd.counts("half"), [0; 5], "nothing of a broken batch is used");
    for number in 0..2 {
        let output = fleet.hubs[number].output();
        ensure!(!output.contains("panicked"), "{output}");
        fleet.hubs[number].client_http()?.get("/health").await?.ok().context("healthy")?;
    }
    Ok(())
}
