//! Where the API is served: an address, TLS, and limits on what a connection may take.

mod patient;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use self::patient::Patient;

/// Connections that are served at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take for the TLS handshake, and for the head of each request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of an answer for so long is given up.
const TAKING_TIMEOUT: Duration = Duration::from_secs(30);
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// After an error of accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Whether the API may be served at an address: beyond this machine only with TLS, here or in front of it.
///
/// # Errors
/// Why not, and what to do.
pub fn check_exposure(
    address: SocketAddr,
    tls: Option<&TlsFiles>,
    terminated_by: Option<&str>,
) -> Result<(), String> {
    if address.ip().is_loopback() || tls.is_some() || terminated_by.is_some() {
        return Ok(());
    }
    Err(format!(
        "{address} can be reached from other machines, and tokens would travel unencrypted. Give --tls-certificate and \
         --tls-key, or name what terminates TLS in front of this server with --tls-terminated-by, or listen at 127.0.0.1"
    ))
}

/// Reads certificate and key.
///
/// # Errors
/// If they cannot be read or don't belong together.
pub fn tls_acceptor(files: &TlsFiles) -> Result<TlsAcceptor, String> {
    let trouble =
        |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| trouble(&files.certificate, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| trouble(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| trouble(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves the API, for ever.
pub async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            tracing::warn!("there are {CONNECTIONS_MAX} connections already; one more was closed");
            continue;
        };
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, tls, router).await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
) -> Result<(), Failure> {
    // Answers are small and wait for nothing.
    stream.set_nodelay(true)?;
    match tls {
        None => requests(stream, router).await,
        Some(tls) => {
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            let stream = timeout(HEAD_TIMEOUT, tls.accept(stream))
                .await
                .map_err(late)??;
            requests(stream, router).await
        }
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
) -> Result<(), Failure> {
    let stream = Patient::new(stream, TAKING_TIMEOUT);
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    builder
        .serve_connection(TokioIo::new(stream), service)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_goes_without_tls() {
        let check = |address: &str, tls: bool, terminated_by: Option<&str>| {
            let files = TlsFiles {
                certificate: PathBuf::new(),
                key: PathBuf::new(),
            };
            check_exposure(
                address.parse().unwrap(),
                tls.then_some(&files),
                terminated_by,
            )
        };
        for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert!(check(local, false, None).is_ok(), "{local}");
        }
        for public in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "192.0.2.7:1"] {
            let reason = check(public, false, None).unwrap_err();
            assert!(reason.contains("--tls-terminated-by"), "{reason}");
            assert!(check(public, true, None).is_ok());
            assert!(check(public, false, Some("nginx")).is_ok());
        }
    }
}
