//! The way of one node to Redis.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
};

/// Longest time that bytes take in one direction, in microseconds.
const LONGEST_US: u64 = 12_000;

/// Bytes arrive in order, each after a random time of its own, so that what two nodes begin at once happens in any
/// order. What is on its way when the connections are cut may arrive or not.
pub(super) struct SlowWay {
    address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    listener: tokio::task::JoinHandle<()>,
}

impl SlowWay {
    pub(super) async fn to(redis: u16, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let (open, chance) = (Arc::clone(&connections), Arc::new(Mutex::new(StdRng::seed_from_u64(seed))));
        let listener = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", redis)).await else { continue };
                let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let (there, back) = (Arc::clone(&chance), Arc::clone(&chance));
                open.lock().spawn(async move {
                    // One end that closes ends both, as a socket does.
                    tokio::select! {
                        () = carry(near_in, far_out, there) => {}
                        () = carry(far_in, near_out, back) => {}
                    }
                });
            }
        });
        Self { address, connections, listener }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends all connections; new ones can be made.
    pub(super) fn cut(&self) {
        self.connections.lock().abort_all();
    }
}

impl Drop for SlowWay {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, chance: Arc<Mutex<StdRng>>) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let us = chance.lock().random_range(0..LONGEST_US);
            let due = Instant::now() + Duration::from_micros(us);
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
