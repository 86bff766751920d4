//! What is in a Redis server.

use std::collections::BTreeMap;

use redis::{Client, Connection, cmd, pipe};

use super::services::require;

/// Hashes by key, fields by name.
pub type Hashes = BTreeMap<String, BTreeMap<String, String>>;

/// The server of the test run; `None` if there is none and there need not be.
pub fn require_redis() -> Option<Redis> {
    require("TIDEWRIGHT_TEST_REDIS").map(|address| Redis::at(&address))
}

/// A running server.
#[derive(Clone, Debug)]
pub struct Redis {
    url: String,
}

impl Redis {
    /// The server at an address, with or without `redis://`.
    pub fn at(address: &str) -> Self {
        let url = if address.contains("://") {
            address.to_owned()
        } else {
            format!("redis://{address}")
        };
        Self { url }
    }

    /// `redis://host:port`, as a job file wants it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A new connection.
    pub fn connection(&self) -> Connection {
        Client::open(self.url.as_str())
            .unwrap()
            .get_connection()
            .unwrap()
    }

    /// Whether the server answers.
    pub fn is_up(&self) -> bool {
        Client::open(self.url.as_str())
            .and_then(|client| client.get_connection())
            .and_then(|mut connection| cmd("PING").query::<String>(&mut connection))
            .is_ok()
    }

    /// All hashes whose keys begin with `prefix`.
    pub fn hashes(&self, prefix: &str) -> Hashes {
        let mut connection = self.connection();
        let keys = scan(&mut connection, prefix);
        let mut hashes = Hashes::new();
        for keys in keys.chunks(1_000) {
            let mut reads = pipe();
            for key in keys {
                reads.cmd("HGETALL").arg(key);
            }
            let contents: Vec<BTreeMap<String, String>> = reads.query(&mut connection).unwrap();
            hashes.extend(keys.iter().cloned().zip(contents));
        }
        hashes
    }

    /// Deletes all hashes whose keys begin with `prefix`.
    pub fn delete(&self, prefix: &str) {
        let mut connection = self.connection();
        for key in scan(&mut connection, prefix) {
            cmd("DEL").arg(key).query::<()>(&mut connection).unwrap();
        }
    }

    /// Deletes everything: a server that lost its data.
    pub fn clear(&self) {
        cmd("FLUSHALL").query::<()>(&mut self.connection()).unwrap();
    }
}

fn scan(connection: &mut Connection, prefix: &str) -> Vec<String> {
    let mut cursor = 0_u64;
    let mut keys = Vec::new();
    loop {
        let (next, found): (u64, Vec<String>) = cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{}*", literally(prefix)))
            .arg("COUNT")
            .arg(1_000)
            .arg("TYPE")
            .arg("hash")
            .query(connection)
            .unwrap();
        keys.extend(found);
        cursor = next;
        if cursor == 0 {
            // A scan may return a key twice.
            keys.sort();
            keys.dedup();
            return keys;
        }
    }
}

/// A text as a pattern that matches nothing else.
fn literally(text: &str) -> String {
    let mut pattern = String::new();
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}
