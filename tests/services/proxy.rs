//! A proxy before Redis that counts round trips: how often its client spoke again after it had got an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Larger than any request of a test, so that one write arrives as one read.
const BUFFER: usize = 64 * 1024;

pub(crate) struct Proxy {
    address: SocketAddr,
    n_round_trips: Arc<AtomicUsize>,
}

impl Proxy {
    /// Runs as long as the test's runtime.
    pub(crate) async fn start(redis: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            n_round_trips: Arc::default(),
        };
        let (redis, counter) = (redis.to_owned(), Arc::clone(&proxy.n_round_trips));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let redis = TcpStream::connect(&redis).await.unwrap();
                tokio::spawn(forward(client, redis, Arc::clone(&counter)));
            }
        });
        proxy
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Over all connections, from the start.
    pub(crate) fn n_round_trips(&self) -> usize {
        self.n_round_trips.load(Ordering::SeqCst)
    }
}

async fn forward(mut client: TcpStream, mut redis: TcpStream, counter: Arc<AtomicUsize>) {
    let (mut request, mut answer) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut is_answered = true;
    loop {
        tokio::select! {
            Ok(n @ 1..) = client.read(&mut request) => {
                if std::mem::take(&mut is_answered) {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
                redis.write_all(&request[..n]).await.unwrap();
            }
            Ok(n @ 1..) = redis.read(&mut answer) => {
                is_answered = true;
                client.write_all(&answer[..n]).await.unwrap();
            }
            else => return,
        }
    }
}
