//! One database of the shared Redis: what a test keeps there, what is asked of it, and who is connected to it.

use std::collections::HashMap;

use redis::{Commands, Connection, Value};

/// Keys of the demo end with its project.
const DEMO_KEYS: &str = "*terrarium_demo";

/// Fields of a hash.
pub(crate) type Fields = HashMap<Vec<u8>, Vec<u8>>;

/// A database that one test has for itself: 9 to 14. It is left without the demo's keys, as it is found.
pub(crate) struct Database {
    address: String,
    number: u8,
    connection: Connection,
}

impl Database {
    pub(crate) fn open(number: u8) -> Self {
        let address = address();
        let connection = connect(&address, number);
        let mut database = Self {
            address,
            number,
            connection,
        };
        database.clear();
        database
    }

    /// `host:port` of the Redis.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// For feature_store.yaml.
    pub(crate) fn connection_string(&self) -> String {
        self.connection_string_via(&self.address)
    }

    /// The same database, reached through another address.
    pub(crate) fn connection_string_via(&self, address: &str) -> String {
        format!("{address},db={}", self.number)
    }

    /// Begins to listen to the commands that this database gets.
    pub(crate) fn monitor(&self) -> Monitor {
        let mut connection = connect(&self.address, self.number);
        redis::cmd("MONITOR").exec(&mut connection).unwrap();
        Monitor {
            connection,
            number: self.number,
        }
    }

    /// Closes every connection to this database but this one; answers how many.
    pub(crate) fn kill_clients(&mut self) -> usize {
        let own: i64 = redis::cmd("CLIENT")
            .arg("ID")
            .query(&mut self.connection)
            .unwrap();
        let list: String = redis::cmd("CLIENT")
            .arg("LIST")
            .arg("TYPE")
            .arg("normal")
            .query(&mut self.connection)
            .unwrap();
        let database = format!("db={}", self.number);
        let mut n_killed = 0;
        for client in list.lines() {
            let mut fields = client.split(' ');
            let id = fields.find_map(|field| field.strip_prefix("id=")).unwrap();
            if id == own.to_string() || !fields.any(|field| field == database) {
                continue;
            }
            let mut kill = redis::cmd("CLIENT");
            kill.arg("KILL").arg("ID").arg(id);
            n_killed += kill.query::<usize>(&mut self.connection).unwrap();
        }
        n_killed
    }

    /// Every key of the demo with its fields.
    pub(crate) fn hashes(&mut self) -> Vec<(Vec<u8>, Fields)> {
        let keys: Vec<Vec<u8>> = self.connection.keys(DEMO_KEYS).unwrap();
        let fields = |key: Vec<u8>| {
            let fields = self.connection.hgetall(&key).unwrap();
            (key, fields)
        };
        keys.into_iter().map(fields).collect()
    }

    pub(crate) fn set(&mut self, key: &[u8], field: &[u8], value: &[u8]) {
        let _: usize = self.connection.hset(key, field, value).unwrap();
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        let n_deleted: usize = self.connection.del(key).unwrap();
        assert_eq!(n_deleted, 1);
    }

    fn clear(&mut self) {
        let keys: Vec<Vec<u8>> = self.connection.keys(DEMO_KEYS).unwrap();
        for key in keys {
            let _: usize = self.connection.del(key).unwrap();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test that failed may leave keys behind; the next run finds and removes them.
        if !std::thread::panicking() {
            self.clear();
        }
    }
}

/// One command as `MONITOR` shows it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Command {
    pub(crate) name: String,
    /// The first argument, escaped.
    pub(crate) key: String,
}

/// The commands of one database, from the moment it was made.
pub(crate) struct Monitor {
    connection: Connection,
    number: u8,
}

impl Monitor {
    /// What came since the last call.
    pub(crate) fn commands(&mut self, database: &mut Database) -> Vec<Command> {
        let end = uuid::Uuid::now_v7().to_string();
        let _: String = redis::cmd("ECHO")
            .arg(&end)
            .query(&mut database.connection)
            .unwrap();
        let mut commands = Vec::new();
        loop {
            let command = match self.connection.recv_response().unwrap() {
                Value::SimpleString(line) => self.parse(&line),
                other => panic!("MONITOR says {other:?}"),
            };
            match command {
                Some(command) if command.key == end => return commands,
                command => commands.extend(command),
            }
        }
    }

    /// `1339518083.107412 [9 127.0.0.1:60866] "HMGET" "key" ...`, where quotes within arguments are escaped.
    fn parse(&self, line: &str) -> Option<Command> {
        let (place, command) = line.split_once("] \"").unwrap();
        if !place.contains(&format!("[{} ", self.number)) {
            return None;
        }
        let mut arguments = command.trim_end_matches('"').split("\" \"");
        Some(Command {
            name: arguments.next().unwrap().to_owned(),
            key: arguments.next().unwrap_or_default().to_owned(),
        })
    }
}

/// `host:port`, as `dev/services up` wrote it.
fn address() -> String {
    let place = std::env::var("TERRARIUM_REDIS")
        .expect("TERRARIUM_REDIS is where `dev/services up` started Redis: host:port");
    place.split(',').next().unwrap().to_owned()
}

fn connect(address: &str, number: u8) -> Connection {
    let client = redis::Client::open(format!("redis://{address}/{number}")).unwrap();
    client.get_connection().unwrap()
}
