//! Serves a job's metrics from its own process, for Prometheus to scrape.

use std::{net::SocketAddr, sync::Arc, thread};

use axum::{Router, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use tokio::net::TcpListener;

use super::listener;
use crate::metrics::exposition::MEDIA_TYPE;

/// Makes the text.
pub type Text = Arc<dyn Fn() -> String + Send + Sync>;

/// Where metrics are served, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsAddress {
    /// The address.
    pub address: SocketAddr,
    /// It may be reached from other machines.
    pub public: bool,
}

impl MetricsAddress {
    /// Whoever can reach the address can read the metrics: other machines only if that was asked for.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check(self) -> Result<Self, String> {
        if self.address.ip().is_loopback() || self.public {
            return Ok(self);
        }
        Err(format!(
            "--metrics {} can be reached from other machines, and metrics are served without authentication or encryption: names \
             of jobs, topics and sinks would be readable for everybody there. Use 127.0.0.1, or add --metrics-public",
            self.address
        ))
    }
}

/// Serves `GET /metrics` on a thread of its own, for as long as the process lives. Returns the address, with the port that was
/// given where 0 was asked for.
///
/// # Errors
/// If nobody can listen there.
pub fn serve(at: MetricsAddress, text: Text) -> Result<SocketAddr, String> {
    let address = at.check()?.address;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("metrics cannot be served: {error}"))?;
    let listening = runtime.block_on(TcpListener::bind(address));
    let listening = listening.map_err(|error| {
        format!("cannot serve metrics at {address}: {error}. Name another address with --metrics")
    })?;
    let bound = listening.local_addr().map_err(|error| error.to_string())?;
    let metrics = move || {
        let text = text.clone();
        async move { ([(CONTENT_TYPE, MEDIA_TYPE)], text()).into_response() }
    };
    let router = Router::new().route("/metrics", get(metrics));
    thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || runtime.block_on(listener::serve(listening, None, router)))
        .map_err(|error| format!("metrics cannot be served: {error}"))?;
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_see_metrics_only_if_that_was_asked_for() {
        let check = |address: &str, public| {
            let address = address.parse().expect("is an address");
            MetricsAddress { address, public }.check()
        };
        for local in ["127.0.0.1:0", "[::1]:9100"] {
            assert!(check(local, false).is_ok());
        }
        for public in ["0.0.0.0:9100", "192.0.2.7:1", "[::]:1"] {
            let reason = check(public, false).expect_err("is refused");
            assert!(reason.contains("--metrics-public"), "{reason}");
            assert!(check(public, true).is_ok());
        }
    }
}
