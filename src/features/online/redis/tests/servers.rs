//! Redis servers that belong to one test: a cluster, a master with sentinels, one that speaks TLS. They end with the test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Connection, RedisResult};
use tempfile::TempDir;

use crate::testing::{make_authority, make_certificate};

/// Longest wait for a state that is bound to come.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a node may be silent before the others take it for dead.
const DEAD_AFTER: &str = "1000";

pub(super) struct Servers {
    pub(super) directory: TempDir,
    servers: Vec<Server>,
}

struct Server {
    port: u16,
    arguments: Vec<String>,
    process: Child,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // Reaches a frozen process as well. It may be dead already.
            let _ = server.process.kill();
            let _ = server.process.wait();
        }
    }
}

impl Servers {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            servers: Vec::new(),
        }
    }

    /// Three masters, 0 to 2, and a replica of each.
    pub(super) fn cluster() -> Self {
        let mut servers = Self::new();
        for _ in 0..6 {
            let directory = servers.subdirectory();
            let options = [
                "--dir",
                &directory,
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                DEAD_AFTER,
                "--cluster-replica-validity-factor",
                "0",
                "--repl-diskless-sync-delay",
                "0",
            ];
            servers.start(free_cluster_port(), &options);
        }
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args((0..6).map(|i| servers.address(i)));
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = create.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        for i in 0..6 {
            servers.wait(i, &["CLUSTER", "INFO"], "cluster_state:ok");
        }
        for i in 3..6 {
            servers.wait(i, &["INFO", "replication"], "master_link_status:up");
        }
        servers
    }

    /// A master, 0, its replica, 1, and three sentinels.
    pub(super) fn sentinel() -> Self {
        let mut servers = Self::new();
        let directory = servers.subdirectory();
        let options = ["--dir", &directory, "--repl-diskless-sync-delay", "0"];
        servers.start(free_port(), &options);
        let master = servers.servers[0].port.to_string();
        let directory = servers.subdirectory();
        let replica = ["--dir", &directory, "--replicaof", "127.0.0.1", &master];
        servers.start(free_port(), &replica);
        servers.wait(1, &["INFO", "replication"], "master_link_status:up");
        for _ in 0..3 {
            let directory = servers.subdirectory();
            let file = format!("{directory}/sentinel.conf");
            let settings = format!(
                "sentinel monitor mymaster 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds mymaster {DEAD_AFTER}\n\
                 sentinel failover-timeout mymaster 3000\n"
            );
            fs_err::write(&file, settings).unwrap();
            servers.start(free_port(), &[&file, "--sentinel", "--dir", &directory]);
        }
        for i in 2..5 {
            // It knows its master's replica and both other sentinels: ready for a failover.
            servers.wait(i, &["INFO", "sentinel"], "slaves=1,sentinels=3");
        }
        servers
    }

    /// One server that speaks TLS only, with `server.crt` for `localhost` by the authority `ca.crt`; `client.crt` is for
    /// clients, and `other.crt` an authority that signed nothing.
    pub(super) fn tls(auth_clients: &str) -> Self {
        let mut servers = Self::new();
        let path = |name: &str| servers.directory.path().join(name).display().to_string();
        for authority in ["ca", "other"] {
            make_authority(servers.directory.path(), authority);
        }
        for name in ["server", "client"] {
            make_certificate(servers.directory.path(), name);
        }
        let port = free_port();
        let options = [
            "--port".to_owned(),
            "0".to_owned(),
            "--tls-port".to_owned(),
            port.to_string(),
            "--tls-cert-file".to_owned(),
            path("server.crt"),
            "--tls-key-file".to_owned(),
            path("server.key"),
            "--tls-ca-cert-file".to_owned(),
            path("ca.crt"),
            "--tls-auth-clients".to_owned(),
            auth_clients.to_owned(),
            "--dir".to_owned(),
            path(""),
        ];
        servers.spawn(port, options.to_vec());
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < LIMIT, "redis-server has no TLS");
            std::thread::sleep(Duration::from_millis(10));
        }
        servers
    }

    /// `host:port`.
    pub(super) fn address(&self, i: usize) -> String {
        format!("127.0.0.1:{}", self.servers[i].port)
    }

    /// Connections break; new ones are refused.
    pub(super) fn kill(&mut self, i: usize) {
        self.servers[i].process.kill().unwrap();
        self.servers[i].process.wait().unwrap();
    }

    /// After `kill`, on the same port.
    pub(super) fn restart(&mut self, i: usize) {
        self.servers[i].process = spawn(&self.servers[i].arguments);
        self.wait(i, &["PING"], "PONG");
    }

    /// From now on it takes connections and requests, as the kernel does that, and answers nothing.
    pub(super) fn freeze(&self, i: usize) {
        let mut kill = Command::new("kill");
        kill.args(["-STOP", &self.servers[i].process.id().to_string()]);
        assert!(kill.status().unwrap().success());
    }

    /// What a server answers.
    pub(super) fn ask<T: redis::FromRedisValue>(
        &self,
        i: usize,
        command: &[&str],
    ) -> RedisResult<T> {
        let mut asked = redis::cmd(command[0]);
        for argument in &command[1..] {
            asked.arg(*argument);
        }
        asked.query(&mut self.connection(i)?)
    }

    /// Waits until what a server answers has a part.
    pub(super) fn wait(&self, i: usize, command: &[&str], part: &str) {
        let started = Instant::now();
        loop {
            let answer = self.ask::<String>(i, command);
            if answer.as_ref().is_ok_and(|answer| answer.contains(part)) {
                return;
            }
            assert!(started.elapsed() < LIMIT, "{command:?}: {answer:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a master's replica has everything that it has.
    pub(super) fn wait_for_replica(&self, i: usize) {
        let started = Instant::now();
        loop {
            let info = self.ask::<String>(i, &["INFO", "replication"]).unwrap();
            let offset = info
                .lines()
                .find_map(|line| line.strip_prefix("master_repl_offset:"));
            if info.contains(&format!(",offset={},", offset.unwrap())) {
                return;
            }
            assert!(started.elapsed() < LIMIT, "{info}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn connection(&self, i: usize) -> RedisResult<Connection> {
        redis::Client::open(format!("redis://{}", self.address(i)))?.get_connection()
    }

    fn subdirectory(&self) -> String {
        let path = self.directory.path().join(self.servers.len().to_string());
        fs_err::create_dir_all(&path).unwrap();
        path.display().to_string()
    }

    fn start(&mut self, port: u16, options: &[&str]) {
        let mut arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        arguments.extend(["--port".to_owned(), port.to_string()]);
        self.spawn(port, arguments);
        self.wait(self.servers.len() - 1, &["PING"], "PONG");
    }

    fn spawn(&mut self, port: u16, mut arguments: Vec<String>) {
        let common = ["--bind", "127.0.0.1", "--appendonly", "no", "--save", ""];
        arguments.extend(common.map(str::to_owned));
        let process = spawn(&arguments);
        self.servers.push(Server {
            port,
            arguments,
            process,
        });
    }
}

fn spawn(arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed (`dev/setup test`)")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The nodes of a cluster talk to each other 10,000 ports above.
fn free_cluster_port() -> u16 {
    loop {
        let port = free_port() % 20_000 + 10_000;
        let both = [port, port + 10_000].map(|port| TcpListener::bind(("127.0.0.1", port)));
        if both.iter().all(Result::is_ok) {
            return port;
        }
    }
}
