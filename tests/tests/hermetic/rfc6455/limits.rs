//! Sections 7.4.1 and 10.4: what is too big is refused before it is taken in.

use anyhow::{Context as _, Result, ensure};
use wsc_tests::{
    lone_hub::LoneHub,
    raw_ws::{BINARY, FIN, HubFrame, PING, RawWs, TEXT, announcing, frame},
};

use super::case::{Case, run_all, say_sized};

const START: u8 = TEXT & !FIN;
const LAST: u8 = FIN;
/// Bytes of a message, by default.
const LIMIT: usize = 65_536;

fn cases(me: &str) -> Vec<Case> {
    let (most, content) = say_sized(me, LIMIT);
    let (over, _) = say_sized(me, LIMIT + 1);
    let (left, right) = most.split_at(40_000);
    let fragments = |text: &[u8], bytes: usize| -> Vec<u8> {
        let count = text.len().div_ceil(bytes);
        let frames = text.chunks(bytes).enumerate().flat_map(|(number, piece)| {
            let first = if number == 0 { START } else { 0 } | if number + 1 == count { FIN } else { 0 };
            frame(first, piece)
        });
        frames.collect()
    };
    let mut cases = vec![
        Case::new("7.4.1", "a message of the limit").write(frame(TEXT, &most)).says(&content),
        Case::new("7.4.1", "one byte over the limit").write(frame(TEXT, &over)).closed(1009),
        Case::new("5.4", "fragments that together are the limit")
            .write(fragments(&most, 1000))
            .says(&content),
        Case::new("5.4", "two fragments that together are the limit")
            .write([frame(START, left), frame(LAST, right)].concat())
            .says(&content),
        Case::new("10.4", "fragments that together are one byte over")
            .write(fragments(&over, 1000))
            .closed(1009),
        Case::new("10.4", "two fragments that together are over")
            .write([frame(START, left), frame(LAST, left)].concat())
            .closed(1009),
        Case::new("10.4", "empty fragments behind the limit, then a byte")
            .write([frame(START, &most), frame(0, b""), frame(0, b""), frame(0, b" ")].concat())
            .closed(1009),
        Case::new("10.4", "a second fragment that announces more than the limit, with no payload")
            .write([frame(START, b"{"), announcing(0, 1 << 40)].concat())
            .closed(1009),
        Case::new("10.4", "a binary over the limit").write(announcing(BINARY, LIMIT as u64 + 1)).closed(1009),
    ];
    // Only the header is sent: a hub that waits for the payload never answers.
    for length in [LIMIT as u64 + 1, 1 << 24, 1 << 31, 1 << 32, (1 << 32) + 5, 1 << 40, (1 << 63) - 1] {
        let case = Case::new("10.4", format!("a header that announces {length} bytes, with no payload"));
        cases.push(case.write(announcing(TEXT, length)).closed(1009));
    }
    cases
}

#[tokio::test]
async fn messages_over_the_limit_close_with_1009() -> Result<()> {
    run_all(cases).await
}

#[tokio::test]
async fn announced_lengths_take_no_memory() -> Result<()> {
    let mut lone = LoneHub::trusted(|options| options).await?;
    let mut sockets = Vec::new();
    for number in 0..100 {
        sockets.push(RawWs::connect(lone.hub.client, &format!("user-{number}")).await?);
    }
    let before = lone.hub.process().resident_bytes()?;
    for socket in &mut sockets {
        socket.write(&announcing(TEXT, 1 << 32)).await?;
    }
    for socket in &mut sockets {
        assert!(matches!(socket.next().await?, HubFrame::Close(Some(1009), _)));
    }
    let grown = lone.hub.process().resident_bytes()?.saturating_sub(before);
    println!("100 headers that announced 4 GiB each: {} KiB more", grown / 1024);
    ensure!(grown < 4 << 20, "{grown} bytes more");
    Ok(())
}

/// A client that pings for ever and reads nothing: its pongs must not pile up in the hub.
#[tokio::test]
async fn pongs_that_nobody_reads_take_no_memory() -> Result<()> {
    let mut lone = LoneHub::trusted(|options| options.set("WSC_CLIENT_RATE", "100000")).await?;
    let mut socket = RawWs::connect(lone.hub.client, "alice").await?;
    let pings = frame(PING, &[7; 125]).repeat(1000);
    let before = lone.hub.process().resident_bytes()?;
    let mut sent = 0;
    // 40 MB of pongs; the kernel keeps some 6 MB of them.
    for _ in 0..300 {
        // A hub that ends the connection has found its bound.
        if socket.write(&pings).await.is_err() {
            break;
        }
        sent += pings.len();
    }
    let bystander = RawWs::connect(lone.hub.client, "bob").await;
    bystander.context("another client")?.barrier(b"all pings are read").await?;
    let grown = lone.hub.process().resident_bytes()?.saturating_sub(before);
    println!("{} KiB of pings, no pong read: {} KiB more", sent / 1024, grown / 1024);
    ensure!(grown < 8 << 20, "{grown} bytes more for {sent} bytes of pings");
    Ok(())
}

/// Section 5.4: nothing is put into the middle of a frame, also when the socket took only its beginning.
#[tokio::test]
async fn texts_and_pongs_stay_whole_and_in_order_for_a_client_that_reads_late() -> Result<()> {
    const TEXTS: u32 = 400;
    let lone = LoneHub::trusted(|options| {
        // Room for all of it: this client is late, not too slow.
        options.set("WSC_OUTBOUND_QUEUE_BYTES", "67108864").set("WSC_CLIENT_RATE", "1000")
    })
    .await?;
    let mut socket = RawWs::connect(lone.hub.client, "alice").await?;
    let api = lone.api()?;
    for number in 0..TEXTS {
        let content = format!("{number:05}{}", "x".repeat(50_000 + number as usize));
        let body = serde_json::json!({"content": content, "options": {"wait": "none"}});
        let sent = api.post("/v1/users/alice/messages", &body).await?.ok()?;
        ensure!(sent["status"] == "accepted", "{number}: {sent}");
        if number % 10 == 0 {
            socket.write(&frame(PING, &number.to_be_bytes())).await?;
        }
    }
    let (mut texts, mut pongs) = (0, Vec::new());
    // The pong of the last ping is owed, those before it may be left out (section 5.5.3).
    while texts < TEXTS || pongs.last() != Some(&(TEXTS - 10)) {
        match socket.next().await? {
            HubFrame::Text(text) => {
                ensure!(text.contains(&format!("\"{texts:05}xxx")), "{texts} does not come next");
                texts += 1;
            }
            HubFrame::Pong(payload) => pongs.push(u32::from_be_bytes(payload.as_slice().try_into()?)),
            HubFrame::Ping(_) => {}
            end => anyhow::bail!("{end:?} after {texts} texts"),
        }
    }
    println!("{texts} texts of 20 MB whole and in order, {} pongs between them", pongs.len());
    ensure!(pongs.is_sorted() && pongs.iter().all(|ping| ping % 10 == 0), "{pongs:?}");
    Ok(())
}
