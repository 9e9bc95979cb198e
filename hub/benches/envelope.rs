//! What a message costs on the bus: one envelope written into a batch and read from it.
#![expect(clippy::unwrap_used, reason = "a measurement that fails is to stop")]

use std::{hint::black_box, time::Duration};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wsc_hub::{
    identity::UserId,
    protocol::{
        envelope::{Envelope, Kind},
        envelope_batch::{Batch, BatchHeader, append},
    },
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Payload of an envelope, in bytes.
const PAYLOAD: usize = 128;
/// Envelopes of a full batch of 64 KiB.
const FULL: u64 = 400;

fn envelope(number: u64) -> Envelope {
    Envelope {
        kind: Kind::Deliver,
        wants_report: true,
        patience: Some(Duration::from_secs(5)),
        number,
        subject: Some(UserId::new("user-12345").unwrap()),
        payload: Bytes::from(vec![b'x'; PAYLOAD]),
    }
}

/// Encode and decode of one envelope alone; the aim is 150 ns for both.
fn alone(criterion: &mut Criterion) {
    let envelope = envelope(7);
    criterion.bench_function("envelope, 128 B, encode and decode", |bencher| {
        // As in a batch, the buffer is made for many.
        let mut out = BytesMut::new();
        bencher.iter(|| {
            if out.capacity() < envelope.encoded_len() {
                out = BytesMut::with_capacity(64 * 1024);
            }
            black_box(&envelope).encode(&mut out);
            Envelope::decode(out.split().freeze()).unwrap().unwrap()
        });
    });
}

/// The same as it is done: many in one batch.
fn batch(criterion: &mut Criterion) {
    let header = BatchHeader { source: "chat-0#k3x9.2".parse().unwrap(), sequence: 41 };
    let envelopes: Vec<_> = (0..FULL).map(envelope).collect();
    let write = || {
        let mut out = BytesMut::with_capacity(80 * 1024);
        header.encode(&mut out);
        envelopes.iter().for_each(|envelope| append(black_box(envelope), &mut out));
        out.freeze()
    };
    let written = write();
    let mut group = criterion.benchmark_group("batch of 400 envelopes, 128 B");
    group.throughput(Throughput::Elements(FULL));
    group.bench_function("encode", |bencher| bencher.iter(write));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| Batch::decode(black_box(&written).clone()).unwrap());
    });
    group.finish();
}

criterion_group!(benches, alone, batch);
criterion_main!(benches);
