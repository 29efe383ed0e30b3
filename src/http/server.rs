//! The accept loop: one task per connection, HTTP/1.1, on the worker that has the fewest; stopped in order.
//!
//! Stop: no new connections, then every connection ends after the answer that it is at; idle ones end at once.
//! Overload: the kernel's backlog holds what is not accepted yet.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::poll_again::PollAgain;
use crate::shutdown::Shutdown;
use crate::workers::{self, Workers};

/// How long to wait for other connections to end when the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `shutdown` is told to stop, then waits for their ends.
pub async fn serve(listener: TcpListener, workers: Workers, router: Router, shutdown: Shutdown) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.stopped() => break,
            accepted = listener.accept() => accepted,
        };
        // Registered here, it would wake this event loop.
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => workers.spawn(connection(stream, router.clone(), shutdown.clone())),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    workers.finish().await;
}

async fn connection(stream: std::net::TcpStream, router: Router, shutdown: Shutdown) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::error!(%error, "a connection cannot be served");
            return;
        }
    };
    // Small answers must not wait for more bytes to fill a packet.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY is not set");
    }
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = Box::pin(PollAgain::new(connection));
    let mut stopped = std::pin::pin!(shutdown.stopped());
    let mut is_stopping = false;
    let mut served = std::pin::pin!(async {
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                () = stopped.as_mut(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().inner().graceful_shutdown();
                }
            }
        }
    });
    let ended = poll_fn(|context| {
        workers::event();
        served.as_mut().poll(context)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The caller left before it was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
