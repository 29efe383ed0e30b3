//! Redis servers that belong to one test, and the queue on them.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use redis::Value;
use tempfile::TempDir;

use super::super::super::contract::{LONG, config};
use super::*;

/// Ends with the test.
pub(super) struct Server {
    directory: TempDir,
    pub(super) port: u16,
    arguments: Vec<String>,
    process: Child,
}

impl Server {
    /// What it was told is on the disk before it answers.
    pub(super) fn start() -> Self {
        let arguments = [
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ];
        Self::start_with(&arguments.map(str::to_owned))
    }

    pub(super) fn start_with(arguments: &[String]) -> Self {
        // Another process may take the port between our look and Redis's bind.
        for _ in 0..5 {
            let port = free_port();
            let directory = tempfile::tempdir().unwrap();
            let mut server = Self {
                process: spawn(directory.path(), port, arguments),
                directory,
                port,
                arguments: arguments.to_vec(),
            };
            if server.comes_up() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// After `kill`, with the same data.
    pub(super) fn restart(&mut self) {
        self.process = spawn(self.directory.path(), self.port, &self.arguments);
        assert!(self.comes_up());
    }

    fn comes_up(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < LONG {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            let client = redis::Client::open(self.url().as_str()).unwrap();
            if let Ok(mut connection) = client.get_connection()
                && redis::cmd("PING").exec(&mut connection).is_ok()
            {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(super) fn settings(&self) -> Config {
        Config {
            url: self.url(),
            ..Config::default()
        }
    }

    pub(super) fn queue(&self) -> Arc<RedisQueue> {
        Arc::new(open(&self.settings(), &config(), &Shutdown::new()).unwrap())
    }

    /// Sends a command as anybody might.
    pub(super) fn run(&self, words: &[&str]) -> Value {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.run_bytes(&words)
    }

    pub(super) fn run_bytes(&self, words: &[&[u8]]) -> Value {
        let mut connection = redis::Client::open(self.url().as_str())
            .and_then(|client| client.get_connection())
            .unwrap();
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query(&mut connection).unwrap()
    }

    pub(super) fn number(&self, words: &[&str]) -> i64 {
        match self.run(words) {
            Value::Int(number) => number,
            Value::BulkString(bytes) => String::from_utf8(bytes).unwrap().parse().unwrap(),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    /// All keys there are, sorted.
    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = redis::from_redis_value(self.run(&["KEYS", "*"])).unwrap();
        keys.sort();
        keys
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A sentinel's first argument is `--sentinel`, its second what its file says.
fn spawn(directory: &Path, port: u16, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    match arguments {
        [first, rules] if first == "--sentinel" => {
            let file = directory.join("sentinel.conf");
            fs_err::write(&file, format!("port {port}\nbind 127.0.0.1\n{rules}")).unwrap();
            command.arg(file).arg("--sentinel");
        }
        _ => {
            command
                .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
                .arg("--dir")
                .arg(directory)
                .args(arguments);
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed (`dev/setup test`)")
}

/// Nobody listens there now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
