//! Sends one gRPC message again and again, over so many connections with one call at a time on each.
//!
//! `grpc_load ADDRESS METHOD FILE CONNECTIONS SECONDS` prints one line of JSON: the answers and how many failed, their times in
//! microseconds, how long that took, and one answer's message in hexadecimal digits.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use floor::grpc::BytesCodec;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, method, file, connections, seconds] = <[String; 5]>::try_from(arguments)
        .map_err(|_| "usage: grpc_load ADDRESS METHOD FILE CONNECTIONS SECONDS")?;
    let message = Bytes::from(std::fs::read(file)?);
    let method = PathAndQuery::try_from(method)?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    let mut clients = Vec::new();
    for _ in 0..connections.parse()? {
        clients.push(Grpc::new(endpoint.connect().await?));
    }
    let answer = ask(&mut clients[0], &method, &message).await?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(seconds.parse()?);
    let mut connections = JoinSet::new();
    for client in clients {
        connections.spawn(drive(client, method.clone(), message.clone(), end));
    }
    let (mut times, mut n_errors) = (Vec::new(), 0);
    while let Some(driven) = connections.join_next().await {
        let (more, errors) = driven?;
        times.extend(more);
        n_errors += errors;
    }
    let took = begun.elapsed().as_micros() as u64;
    times.sort_unstable();
    let at = |share: f64| times.get((times.len().saturating_sub(1) as f64 * share) as usize);
    let hex: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
    println!(
        "RESULT {}",
        json!({"p50": at(0.5), "p99": at(0.99), "answers": times.len(), "microseconds": took, "errors": n_errors, "answer": hex})
    );
    Ok(())
}

/// The times of the answers, and how many calls failed.
async fn drive(
    mut client: Grpc<Channel>,
    method: PathAndQuery,
    message: Bytes,
    end: Instant,
) -> (Vec<u64>, u64) {
    let (mut times, mut n_errors) = (Vec::new(), 0);
    loop {
        let asked = Instant::now();
        if asked >= end {
            return (times, n_errors);
        }
        match ask(&mut client, &method, &message).await {
            Ok(_) => times.push(asked.elapsed().as_micros() as u64),
            Err(_) => n_errors += 1,
        }
    }
}

async fn ask(
    client: &mut Grpc<Channel>,
    method: &PathAndQuery,
    message: &Bytes,
) -> Result<Bytes, Status> {
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let request = Request::new(message.clone());
    let answer = client.unary(request, method.clone(), BytesCodec).await?;
    Ok(answer.into_inner())
}
