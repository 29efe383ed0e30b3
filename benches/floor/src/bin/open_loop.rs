//! Sends requests at a rate of its own, whatever the server does, and times each from the moment it was due.
//!
//! A load generator that waits for answers slows down with the server; this one does not, so it can ask for more than there is.
//!
//! `open_loop ADDRESS PATH BODY RATE SECONDS CONNECTIONS` prints one line of JSON: for each status how many answers and their
//! times in microseconds, and what was not answered. A request that finds every connection busy counts as `not_sent`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until};

type Answer = Option<(u16, Duration)>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, body, rate, seconds, connections] = <[String; 6]>::try_from(arguments)
        .map_err(|_| "usage: open_loop ADDRESS PATH BODY RATE SECONDS CONNECTIONS")?;
    let (rate, seconds): (f64, f64) = (rate.parse()?, seconds.parse()?);
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let request: Arc<[u8]> = request.into_bytes().into();
    // Every connection waits for its next turn here; nothing queues in between.
    let (turns, waiting) = mpsc::channel::<Instant>(1);
    let waiting = Arc::new(Mutex::new(waiting));
    let (answers, mut answered) = mpsc::unbounded_channel::<Answer>();
    for _ in 0..connections.parse()? {
        let mut stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        let (waiting, answers, request) = (waiting.clone(), answers.clone(), request.clone());
        tokio::spawn(async move {
            loop {
                let Some(due) = waiting.lock().await.recv().await else {
                    return;
                };
                let status = ask(&mut stream, &request).await;
                let is_lost = status.is_none();
                // The receiver lives as long as the process.
                let _ = answers.send(status.map(|status| (status, due.elapsed())));
                if is_lost {
                    return;
                }
            }
        });
    }
    drop(answers);
    let begun = Instant::now();
    let (n_due, mut n_not_sent) = ((rate * seconds) as u64, 0_u64);
    for number in 0..n_due {
        let due = begun + Duration::from_secs_f64(number as f64 / rate);
        sleep_until(due).await;
        tokio::task::yield_now().await;
        n_not_sent += u64::from(turns.try_send(due).is_err());
    }
    drop(turns);
    let (mut times, mut n_lost) = (BTreeMap::<u16, Vec<u64>>::new(), 0_u64);
    while let Some(answer) = answered.recv().await {
        match answer {
            Some((status, took)) => times
                .entry(status)
                .or_default()
                .push(took.as_micros() as u64),
            None => n_lost += 1,
        }
    }
    let statuses: BTreeMap<String, _> = times
        .into_iter()
        .map(|(status, mut times)| {
            times.sort_unstable();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            let told = json!({"n": times.len(), "p50": at(0.5), "p99": at(0.99), "max": at(1.0)});
            (status.to_string(), told)
        })
        .collect();
    println!(
        "{}",
        json!({"statuses": statuses, "lost": n_lost, "not_sent": n_not_sent, "due": n_due})
    );
    Ok(())
}

/// The status of the answer, once all of it is here; `None` if the connection broke.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&answer[..end])
            .ok()?
            .to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))?;
        if answer.len() >= end + 4 + length.trim().parse::<usize>().ok()? {
            return head.split(' ').nth(1)?.parse().ok();
        }
    }
}
