//! Mutual TLS between processes: both sides show a certificate of the same authority, for the name in the hosts file.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, ServerConfig,
    client::{Resumption, verify_server_name},
    pki_types::{CertificateDer, ServerName},
    server::{ParsedCertificate, WebPkiClientVerifier},
    version::TLS13,
};

use crate::pem::{authorities, certificates, private_key, wrong};

/// PEM files of one process.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The authority that has signed the certificates of all processes.
    pub ca: PathBuf,
    /// This process's certificate, and those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What both sides of a connection need.
#[derive(Clone)]
pub struct Tls {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are nobody's business.
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads certificates and key.
    ///
    /// # Errors
    /// A message that names the file and what is wrong with it.
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(authorities(&files.ca, "--tls-ca")?);
        let chain = certificates(&files.cert, "--tls-cert")?;
        let key = || private_key(&files.key, "--tls-key");
        let unfit = |error: rustls::Error| wrong(&files.cert, "--tls-cert", &error);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| wrong(&files.ca, "--tls-ca", &error))?;
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(unfit)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.clone(), key()?)
            .map_err(unfit)?;
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(unfit)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key()?)
            .map_err(unfit)?;
        // Every connection is made once and kept.
        server.send_tls13_tickets = 0;
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }
}

/// Whether a verified certificate stands for this host.
///
/// # Errors
/// A message that says for whom it does not.
pub fn check_name(certificate: &CertificateDer<'_>, host: &str) -> Result<(), String> {
    let stands = || -> Result<(), rustls::Error> {
        let name = ServerName::try_from(host)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        verify_server_name(&ParsedCertificate::try_from(certificate)?, &name)
    };
    stands().map_err(|error| format!("its certificate is not for {host}: {error}"))
}
