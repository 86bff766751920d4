//! A bucket on the S3 server of the test run.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::services::{require, unique_name};

/// A bucket of a test's own.
#[derive(Clone, Debug)]
pub struct Bucket {
    endpoint: String,
    name: String,
}

impl Bucket {
    /// Creates a bucket; `None` if there is no server and there need not be. The server must take requests without a
    /// signature, as moto does.
    pub fn require() -> Option<Self> {
        let endpoint = require("TIDEWRIGHT_TEST_S3")?;
        let name = unique_name("checkpoints");
        create(&endpoint, &name);
        Some(Self { endpoint, name })
    }

    /// The checkpoint store's address, such as `s3://bucket/prefix`.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.name)
    }

    /// The variables that lead a process to this server (credentials are set for every process).
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }
}

fn create(endpoint: &str, name: &str) {
    let host = endpoint.rsplit("://").next().unwrap_or(endpoint);
    let host = host.trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(
        stream,
        "PUT /{name} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split_whitespace().nth(1);
    assert_eq!(status, Some("200"), "creating a bucket: {answer}");
}
