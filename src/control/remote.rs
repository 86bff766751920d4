//! Asks a server over its REST API, for the command line.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;

use super::api::Problem;

/// Where servers listen and commands ask unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7433";
/// The variable that holds a token. Jobs don't inherit it.
pub const TOKEN_VARIABLE: &str = "TIDEWRIGHT_TOKEN";
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A request that brought no result.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nobody answers.
    #[error(
        "no server answers at {server}: {reason}. Start one with `tidewright serve`, or name its address with --server or \
         TIDEWRIGHT_SERVER"
    )]
    Unreachable {
        /// Where.
        server: String,
        /// Why not.
        reason: String,
    },
    /// The server refused.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// An answer that comes bit by bit came only in part.
    #[error(
        "the answer of {server} broke off: {reason}. The server has ended, the job does not answer it, or it has given up a \
         reader that took nothing for half a minute: ask again"
    )]
    BrokenOff {
        /// Where.
        server: String,
        /// Why.
        reason: String,
    },
    /// The answer comes from another release, or from something else.
    #[error("the server's answer is not understood: {0}")]
    NotUnderstood(String),
}

/// A server, and the right to ask it.
pub struct Remote {
    server: String,
    token: Option<String>,
    http: reqwest::Client,
    runtime: Runtime,
}

impl Remote {
    /// A server by its URL.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn new(server: &str, token: Option<String>) -> Result<Self, RemoteError> {
        let unusable = |error: &dyn std::fmt::Display| RemoteError::Unreachable {
            server: server.to_owned(),
            reason: error.to_string(),
        };
        let url = reqwest::Url::parse(server).map_err(|error| unusable(&error))?;
        let mut http = reqwest::Client::builder().timeout(TIMEOUT);
        if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            // A proxy could neither reach it nor be trusted with the token.
            http = http.no_proxy();
        }
        Ok(Self {
            server: server.trim_end_matches('/').to_owned(),
            token,
            http: http.build().map_err(|error| unusable(&error))?,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| unusable(&error))?,
        })
    }

    /// Reads something.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RemoteError> {
        self.call(self.request(Method::GET, path))
    }

    /// Reads lines as they come, for as long as `take` wants more of them; the server may take so long until the last one.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn get_lines(
        &self,
        path: &str,
        limit: Duration,
        mut take: impl FnMut(&str) -> bool,
    ) -> Result<(), RemoteError> {
        let request = self.request(Method::GET, path).timeout(limit);
        self.runtime.block_on(async {
            let sent = request.send().await;
            let mut response = sent.map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            if !status.is_success() {
                let refusal = response.bytes().await;
                let refusal = refusal.map_err(|error| self.unreachable(&error))?;
                return Err(refused(status, &refusal));
            }
            let mut text = Vec::new();
            let broken_off = |error: reqwest::Error| RemoteError::BrokenOff {
                server: self.server.clone(),
                reason: innermost(&error),
            };
            while let Some(part) = response.chunk().await.map_err(broken_off)? {
                text.extend_from_slice(&part);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    if !take(String::from_utf8_lossy(&line[..end]).as_ref()) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    /// Asks for a change, with a body, and a key if it may be sent again.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        idempotency_key: Option<&str>,
    ) -> Result<T, RemoteError> {
        let mut request = self.request(Method::POST, path).json(body);
        if let Some(key) = idempotency_key {
            request = request.header(super::api::jobs::IDEMPOTENCY_KEY, key);
        }
        self.call(request)
    }

    /// Removes something.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn delete(&self, path: &str) -> Result<(), RemoteError> {
        self.answer(self.request(Method::DELETE, path)).map(drop)
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn call<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, RemoteError> {
        let answer = self.answer(request)?;
        serde_json::from_slice(&answer)
            .map_err(|error| RemoteError::NotUnderstood(error.to_string()))
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, RemoteError> {
        let exchange = async {
            let response = request.send().await?;
            let status = response.status();
            Ok((status, response.bytes().await?))
        };
        let (status, bytes): (StatusCode, _) = self
            .runtime
            .block_on(exchange)
            .map_err(|error| self.unreachable(&error))?;
        match status.is_success() {
            true => Ok(bytes.to_vec()),
            false => Err(refused(status, &bytes)),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> RemoteError {
        RemoteError::Unreachable {
            server: self.server.clone(),
            reason: innermost(error),
        }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> RemoteError {
    match serde_json::from_slice(body) {
        Ok(problem) => RemoteError::Refused(Box::new(problem)),
        Err(_) => RemoteError::NotUnderstood(format!("status {status}")),
    }
}

/// The cause says more than what the client makes of it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A name as a part of a path.
#[must_use]
pub fn path_part(name: &str) -> String {
    use std::fmt::Write as _;
    let mut part = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            part.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(part, "%{byte:02X}");
        }
    }
    part
}
