//! A server that is killed at a random moment under load, again and again: whatever it answered is in the audit trail.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{copy, root};

const N_CLIENTS: usize = 4;

#[test]
fn a_server_that_is_killed_has_an_event_for_every_answer() {
    kill_again_and_again(5);
}

#[test]
#[ignore = "takes half a minute; `cargo test --test it a_hundred_kills -- --ignored`"]
fn a_hundred_kills_lose_no_event() {
    kill_again_and_again(100);
}

fn kill_again_and_again(n_rounds: usize) {
    let directory = tempfile::tempdir().unwrap();
    let models = directory.path().join("models/lookup");
    copy(&root().join("tests/fixtures/models/lookup"), &models);
    let mut answered = HashSet::new();
    for round in 0..n_rounds {
        let server = Server::start(directory.path());
        // A different moment in each round, also right at the start.
        let n_before_kill = round * 157 % 800;
        answered.extend(server.load_and_kill(n_before_kill));
    }
    // The last one ships what the others left, and stops in order.
    Server::start(directory.path()).stop();

    let report = verify(directory.path());
    let writers = report["writers"].as_array().unwrap();
    let mut n_events = 0;
    for writer in writers {
        assert_eq!(writer["first"], 1, "{writer}");
        assert_eq!(writer["n_duplicates"], 0, "{writer}");
        n_events += writer["n_events"].as_u64().unwrap();
    }
    let events = terrarium::audit::read::events(&directory.path().join("audit")).unwrap();
    let ids: HashSet<String> = events
        .map(|event| event.unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len() as u64, n_events);
    let missing: Vec<&String> = answered.difference(&ids).collect();
    assert!(
        missing.is_empty(),
        "{} of {}",
        missing.len(),
        answered.len()
    );
    assert!(answered.len() >= 100 * n_rounds, "{}", answered.len());
    let spool = std::fs::read_dir(directory.path().join("audit/spool")).unwrap();
    assert_eq!(spool.count(), 0, "everything is shipped");
}

/// What `terrarium audit verify` finds, which must be nothing wrong.
fn verify(directory: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_terrarium"))
        .args(["audit", "verify", "--json"])
        .current_dir(directory)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_terrarium"))
            .args(["serve", "--set", "http.listen=127.0.0.1:0"])
            .args(["--set", "http.grpc_listen=127.0.0.1:0"])
            .args(["--set", "features.repo="])
            .current_dir(directory)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("listening on http://")?;
            Some(rest.split(' ').next().unwrap().to_owned())
        });
        // Read on, or the server would wait for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self {
            process,
            address: address.unwrap(),
        };
        while !server.is_ready() {
            std::thread::yield_now();
        }
        server
    }

    fn is_ready(&self) -> bool {
        let mut client = Client::connect(&self.address);
        let answer = client.call("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
        answer.is_some_and(|(status, _)| status == 200)
    }

    /// Ids of everything that was answered before the server was gone.
    fn load_and_kill(mut self, n_before_kill: usize) -> Vec<String> {
        let n_answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let load = || {
                let mut ids = Vec::new();
                let mut client = Client::connect(&self.address);
                while let Some(id) = client.predict() {
                    ids.push(id);
                    n_answered.fetch_add(1, Ordering::Relaxed);
                }
                ids
            };
            let clients: Vec<_> = (0..N_CLIENTS).map(|_| scope.spawn(load)).collect();
            while n_answered.load(Ordering::Relaxed) < 100 + n_before_kill {
                let none_ended = clients.iter().all(|client| !client.is_finished());
                assert!(none_ended, "a client was refused");
                std::thread::yield_now();
            }
            self.process.kill().unwrap();
            let ids = clients
                .into_iter()
                .flat_map(|client| client.join().unwrap());
            let ids = ids.collect();
            self.process.wait().unwrap();
            ids
        })
    }

    fn stop(mut self) {
        let id = self.process.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(told.success());
        assert!(self.process.wait().unwrap().success());
    }
}

/// One connection, kept open.
struct Client(TcpStream);

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// The id of a prediction; `None` once the server is gone.
    fn predict(&mut self) -> Option<String> {
        let body = r#"{"inputs": {"index": [0, 1]}}"#;
        let length = body.len();
        let request = format!(
            "POST /v1/models/lookup/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (status, body) = self.call(&request)?;
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        Some(answer["id"].as_str().unwrap().to_owned())
    }

    /// Status and body; `None` if the connection ends before they are whole.
    fn call(&mut self, request: &str) -> Option<(u16, Vec<u8>)> {
        self.0.write_all(request.as_bytes()).ok()?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status, body))
    }
}
