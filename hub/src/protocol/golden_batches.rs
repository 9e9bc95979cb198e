//! What nodes say to each other, as this release writes it, kept in `hub/tests/golden/bus-v<version>`. A release that writes
//! other bytes, or cannot read those of its version, does not understand its neighbours.
//!
//! A new kind of envelope gets a row of [`samples`] and a file, which the test writes when `WSC_WRITE_GOLDEN=1`. It never
//! rewrites a file: a change of what is there already asks for a new [`VERSION`], whose files stand beside the old ones,
//! which stay and are still read.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::{
    broadcast_payload,
    envelope::{Envelope, Kick, Kind, Report, ReportStatus},
    envelope_batch::{Batch, BatchHeader, VERSION, append, append_traces},
    group_payload::{GroupFrame, MembersPage, MembersQuestion, MembershipChange},
    inbox_offset::EntryId,
    presence_changed,
    stored_notice::StoredNotice,
    trace_context::TraceContext,
    user_verdict::{BanNews, encode_replaced, encode_revocation},
    wire_frame::WireFrame,
};
use crate::identity::{ConnectionId, GroupName, UserId};

/// The first eight bytes of the SHA-256 of each file, so that nobody changes one together with the code and does not notice.
const DIGESTS: [(&str, &str); 18] = [
    ("ack", "8ca51c8cb6f77a21"),
    ("ban", "ad6ccedb9b612a1b"),
    ("broadcast", "027d35003f61cb4e"),
    ("broadcast-except", "0cb90914d7188f1a"),
    ("deliver", "a55657882e2eb62d"),
    ("group", "bb79192e72843cb0"),
    ("hello", "d551d3ba9101a133"),
    ("kick", "b0ceb2ef3f55a8a4"),
    ("members-page", "e2561467fe42a412"),
    ("members-question", "ce74ee3aa2945c09"),
    ("membership", "d4c60bb4baf25821"),
    ("presence-changed", "0a2ebffeb6beece7"),
    ("replace", "a6d0aec4eb202f95"),
    ("report", "cd4adf41ab09d739"),
    ("revoke", "75bf85d5cda4d568"),
    ("several", "611935ca439fc9c4"),
    ("stored", "ddf2eef580e94cab"),
    ("traced", "4a2ca0bad326b858"),
];

const FRAME: &[u8] = br#"{"type":"message","content":"h\u00fc"}"#;

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn group() -> GroupName {
    GroupName::new("room-1").unwrap()
}

fn envelope(kind: Kind, number: u64, subject: Option<&str>, payload: Bytes) -> Envelope {
    Envelope { kind, wants_report: false, patience: None, number, subject: subject.map(user), payload }
}

/// One batch per kind, one with several envelopes, and one of which some belong to traces.
fn samples() -> Vec<(&'static str, Vec<Envelope>)> {
    let frame = Bytes::from_static(FRAME);
    let ids: [ConnectionId; 2] =
        ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW"].map(|id| id.parse().unwrap());
    let nodes = ["chat-0#k3x9.2", "chat-11#abc.1"].map(|node| node.parse().unwrap());
    let waits = |envelope: Envelope, ms| Envelope {
        wants_report: true,
        patience: Some(Duration::from_millis(ms)),
        ..envelope
    };
    let deliver = waits(envelope(Kind::Deliver, 7, Some("alice"), frame.clone()), 5120);
    let report = Report { batch: 41, index: 3, status: ReportStatus::Overloaded, count: 2 }.encode();
    let kick = Kick { reason: "spam ü".to_owned(), notice: Some(frame.clone()) }.encode();
    let ban = BanNews { until: 1_732_356_000_123, reason: "spam".to_owned() }.encode();
    let notice = StoredNotice {
        offset: "e1:1732356000000-7".parse().unwrap(),
        prev: EntryId { ms: 1_732_355_999_999, seq: 3 },
        frame: Some(WireFrame::from_bytes(frame.clone()).unwrap()),
    };
    let notice = notice.encode();
    let joins = MembershipChange { joins: true, group: group() }.encode();
    let question = MembersQuestion { group: group(), after: Some(user("bob")), most: 1000 }.encode();
    let page = MembersPage { question: 9, users: vec![(user("bob"), 1), (user("eve"), 300)], more: true };
    let except = broadcast_payload::encode(&[user("alice"), user("bob")], &frame);
    let to_group = GroupFrame { group: group(), frame: frame.clone() }.encode();
    vec![
        ("ack", vec![envelope(Kind::Ack, 18, Some("bob"), Bytes::from_static(b"k3x9"))]),
        ("ban", vec![envelope(Kind::Ban, 12, Some("bob"), ban)]),
        ("broadcast", vec![waits(envelope(Kind::Broadcast, 8, None, frame), 1024)]),
        ("broadcast-except", vec![envelope(Kind::BroadcastExcept, 9, None, except)]),
        ("deliver", vec![deliver.clone()]),
        ("group", vec![envelope(Kind::Group, 10, None, to_group)]),
        ("hello", vec![envelope(Kind::Hello, u64::MAX, None, Bytes::new())]),
        ("kick", vec![waits(envelope(Kind::Kick, 11, Some("bob"), kick), 5120)]),
        ("members-page", vec![envelope(Kind::MembersPage, 13, None, page.encode())]),
        ("members-question", vec![envelope(Kind::MembersQuestion, 14, None, question)]),
        ("membership", vec![envelope(Kind::Membership, 15, Some("bob"), joins)]),
        (
            "presence-changed",
            vec![envelope(
                Kind::PresenceChanged,
                1_732_356_000_000_123,
                Some("bob"),
                presence_changed::encode(&nodes),
            )],
        ),
        ("replace", vec![envelope(Kind::Replace, 0, Some("bob"), encode_replaced(&ids))]),
        ("report", vec![envelope(Kind::Report, 0, None, report.clone())]),
        ("revoke", vec![envelope(Kind::Revoke, 16, Some("bob"), encode_revocation(1_732_356_000_123))]),
        ("stored", vec![envelope(Kind::Stored, 17, Some("bob"), notice)]),
        ("several", vec![deliver.clone(), envelope(Kind::Report, 0, None, report.clone())]),
        ("traced", vec![deliver.clone(), envelope(Kind::Report, 0, None, report), deliver]),
    ]
}

/// The traces that a sample's envelopes belong to, by their places.
fn traces(name: &str) -> Vec<(u32, TraceContext)> {
    let trace = |text: &str| text.parse().unwrap();
    match name {
        "traced" => vec![
            (0, trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
            (2, trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")),
        ],
        _ => Vec::new(),
    }
}

fn encoded(envelopes: &[Envelope], traces: &[(u32, TraceContext)]) -> Bytes {
    let mut out = BytesMut::new();
    header().encode(&mut out);
    envelopes.iter().for_each(|envelope| append(envelope, &mut out));
    append_traces(traces, &mut out);
    out.freeze()
}

fn header() -> BatchHeader {
    BatchHeader { source: "chat-0#k3x9.2".parse().unwrap(), sequence: 41 }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/bus-v{VERSION}"))
}

fn read(name: &str) -> Bytes {
    let path = folder().join(format!("{name}.bin"));
    let why = "a new sample is written by this test with WSC_WRITE_GOLDEN=1";
    std::fs::read(&path).map(Bytes::from).unwrap_or_else(|e| panic!("{}: {e}; {why}", path.display()))
}

#[test]
fn what_is_written_is_what_was_written_before_and_is_read() {
    for (name, envelopes) in samples() {
        let path = folder().join(format!("{name}.bin"));
        if std::env::var_os("WSC_WRITE_GOLDEN").is_some() && !path.exists() {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&path, encoded(&envelopes, &traces(name))).unwrap();
        }
        let golden = read(name);
        let batch = Batch::decode(golden.clone()).unwrap_or_else(|e| panic!("{name} is not read: {e}"));
        assert_eq!(batch.header, header(), "{name}");
        let read: Vec<_> = batch.envelopes.into_iter().map(Option::unwrap).collect();
        assert_eq!(read, envelopes, "{name} means something else now: the format needs a new version");
        assert_eq!(batch.traces, traces(name), "{name}");
        assert_eq!(
            encoded(&envelopes, &traces(name)),
            golden,
            "{name} is written otherwise now: see the head of this file"
        );
    }
}

#[test]
fn no_file_changes_without_notice_and_none_is_left_out() {
    let listed: BTreeSet<String> = DIGESTS.iter().map(|(name, _)| format!("{name}.bin")).collect();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, listed, "the files, and those with a digest");
    let sampled: BTreeSet<String> = samples().iter().map(|(name, _)| format!("{name}.bin")).collect();
    assert_eq!(files, sampled, "the files, and those with a sample");
    let actual: Vec<(&str, String)> = DIGESTS
        .iter()
        .map(|(name, _)| {
            let digest = Sha256::digest(read(name));
            (*name, digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
        })
        .collect();
    let expected: Vec<(&str, String)> = DIGESTS.map(|(name, digest)| (name, digest.to_owned())).to_vec();
    assert_eq!(actual, expected, "a release that is out has written these bytes");
}

#[test]
fn every_kind_has_a_sample() {
    let mut bytes = encoded(&[], &[]).to_vec();
    let start = bytes.len();
    let mut one = BytesMut::new();
    envelope(Kind::Hello, 1, None, Bytes::new()).encode(&mut one);
    bytes.extend(u32::try_from(one.len()).unwrap().to_le_bytes());
    bytes.extend(&one);
    let known: BTreeSet<u8> = (0..=u8::MAX)
        .filter(|kind| {
            bytes[start + 4] = *kind;
            // A kind that is not known is a newer release's: passed over, and the rest of its batch is not.
            // Traces are no envelope.
            let batch = Batch::decode(Bytes::from(bytes.clone())).unwrap();
            batch.envelopes.first().is_some_and(Option::is_some)
        })
        .collect();
    let sampled: BTreeSet<u8> = samples().iter().flat_map(|(_, all)| all).map(|e| e.kind as u8).collect();
    assert_eq!(known, sampled, "kinds that are read, and kinds with a sample above");
}
