//! A DynamoDB with too little throughput: a proxy in front of the server that refuses some writes as AWS does.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Of so many writes ...
const CYCLE: u64 = 5;
/// ... so many are refused.
const REFUSED: u64 = 2;
/// How long a connection may be silent before its thread gives up.
const SILENCE: Duration = Duration::from_secs(30);

const REFUSAL: &str = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"The level of configured provisioned throughput for the table was exceeded."}"#;

/// The proxy; closed when dropped.
pub struct Throttle {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    server: String,
    writes: AtomicU64,
    refused: AtomicU64,
    closed: AtomicBool,
}

/// A request as it came.
struct Request {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Throttle {
    /// Starts it on a free port, before a server at `http://host:port`.
    pub fn start(server: &str) -> Self {
        let server = server.rsplit("://").next().unwrap_or(server);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: server.trim_end_matches('/').to_owned(),
            ..Shared::default()
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.closed.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let shared = Arc::clone(&accepting);
                // A client that breaks off, or a server that is gone, is what the job under test has to see.
                thread::spawn(move || shared.serve(&client));
            }
        });
        Self { address, shared }
    }

    /// As a job file wants it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many writes it has refused.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Answers requests until one has been passed on: the answer to that one ends the connection.
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(SILENCE))?;
        client.set_nodelay(true)?;
        let mut requests = BufReader::new(client);
        while let Some(request) = Request::read(&mut requests)? {
            if !self.refuses(&request) {
                self.pass_on(&request, client)?;
                return client.shutdown(Shutdown::Both);
            }
            self.refused.fetch_add(1, Ordering::Relaxed);
            let mut client = client;
            write!(
                client,
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{REFUSAL}",
                REFUSAL.len()
            )?;
        }
        Ok(())
    }

    fn refuses(&self, request: &Request) -> bool {
        let target = request.header("x-amz-target").unwrap_or_default();
        let is_write = ["PutItem", "UpdateItem", "DeleteItem"]
            .iter()
            .any(|write| target.ends_with(write));
        is_write && self.writes.fetch_add(1, Ordering::Relaxed) % CYCLE < REFUSED
    }

    fn pass_on(&self, request: &Request, mut client: &TcpStream) -> io::Result<()> {
        let mut server = TcpStream::connect(&self.server)?;
        server.set_read_timeout(Some(SILENCE))?;
        let mut bytes = Vec::new();
        for (number, line) in request.head.iter().enumerate() {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
            if number == 0 {
                bytes.extend_from_slice(b"Connection: close\r\n");
            }
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&request.body);
        server.write_all(&bytes)?;
        io::copy(&mut server, &mut client)?;
        Ok(())
    }
}

impl Request {
    /// The next one; `None` once the client has gone.
    fn read(from: &mut BufReader<&TcpStream>) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if !line.to_ascii_lowercase().starts_with("connection:") {
                head.push(line.to_owned());
            }
        }
        let mut request = Self {
            head,
            body: Vec::new(),
        };
        let length = request.header("content-length");
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body = vec![0; length];
        from.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.iter().filter_map(|line| line.split_once(':'));
        let mut named = headers.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }
}
