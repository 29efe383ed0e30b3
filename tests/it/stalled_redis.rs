//! A Redis that answers the handshake of a connection and then nothing: for requests that never end by themselves.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers `OK` to every `CLIENT` command and `PONG` to `PING`; swallows everything else.
pub(crate) async fn run(listener: TcpListener) {
    while let Ok((mut connection, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(n @ 1..) = connection.read(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..n]).to_uppercase();
                let n_client = text.matches("CLIENT\r\n").count();
                let mut reply = "+OK\r\n".repeat(n_client);
                reply.push_str(&"+PONG\r\n".repeat(text.matches("PING\r\n").count()));
                if connection.write_all(reply.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}
