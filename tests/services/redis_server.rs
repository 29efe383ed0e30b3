//! A Redis that belongs to one test: it can be frozen, killed, and started again where it was.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for a start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Ends with the test. What it was told is on disk before it answers, and so outlives a kill.
pub(crate) struct RedisServer {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        // Another process may take the port between our look and Redis's bind.
        for _ in 0..5 {
            let port = free_port();
            let directory = tempfile::tempdir().unwrap();
            let mut server = Self {
                process: spawn(&directory, port),
                directory,
                port,
            };
            if server.comes_up() {
                return server;
            }
        }
        panic!("redis-server does not start; try `redis-server --port 0` by hand");
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on it takes connections and requests, as the kernel does that, and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Connections break; new ones are refused.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// After `kill`: on the same port, with the same data.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.directory, self.port);
        assert!(self.comes_up(), "redis-server does not start again");
    }

    /// Closes the connections of all clients.
    pub(crate) fn kill_clients(&self) {
        let mut connection = self.connection().unwrap();
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal");
        let n_killed: usize = kill.query(&mut connection).unwrap();
        assert!(n_killed > 0);
    }

    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args([format!("-{name}"), self.process.id().to_string()]);
        assert!(kill.status().unwrap().success());
    }

    pub(crate) fn connection(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(format!("redis://{}", self.address()))?.get_connection()
    }

    /// Waits until it answers; `false` if it ends instead.
    fn comes_up(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            let answer = self
                .connection()
                .and_then(|mut connection| redis::cmd("PING").exec(&mut connection));
            let is_running = self.process.try_wait().unwrap().is_none();
            if answer.is_ok() || !is_running {
                return is_running;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Reaches a frozen process as well. It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(directory: &TempDir, port: u16) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args([
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ])
        .arg("--dir")
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed (`dev/setup test`)")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
