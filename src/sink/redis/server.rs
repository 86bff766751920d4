//! The server of a sink: the one way to connect to it, with or without TLS, and what is wrong when that fails.

use std::{error::Error, fs, io, path::Path, sync::Arc, time::Duration};

use redis::{Client, ClientTlsConfig, Connection, RedisError, TlsCertificates};
use rustls::{AlertDescription, CertificateError, crypto::ring, sign::CertifiedKey};
use tidewright_jobs::job::{RedisSinkConfig, RedisTlsConfig};

use super::reply;
use crate::{
    pem,
    sink::{SinkContext, SinkError},
};

/// How long is waited for a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    connect: Duration,
    answer: Duration,
}

impl Patience {
    /// Of a writer, which tries again.
    pub(super) const WRITES: Self = Self {
        connect: Duration::from_secs(2),
        answer: Duration::from_secs(5),
    };
    /// Of somebody who reads everything, once.
    pub(super) const READS: Self = Self {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(30),
    };
}

/// A server, as a sink's configuration names it.
pub(super) struct Server {
    url: String,
    tls: Option<RedisTlsConfig>,
    place: String,
    host: String,
    /// Before the first connection a refused certificate is a mistake in the configuration, afterwards it is an outage.
    has_answered: bool,
}

impl Server {
    /// Reads the configuration, certificates included; connects to nothing. `detail` goes into the name of the place.
    pub(super) fn new(
        config: &RedisSinkConfig,
        context: &SinkContext,
        detail: &str,
    ) -> Result<Self, SinkError> {
        let mut server = Self {
            url: config.url.clone(),
            tls: config.tls.clone(),
            place: String::new(),
            host: String::new(),
            has_answered: false,
        };
        let client = server
            .client()
            .map_err(|message| context.misconfigured(message))?;
        let address = client.get_connection_info().addr().to_string();
        server.place = context.place(&format!("redis {address}{detail}"));
        address
            .rsplit_once(':')
            .map_or("", |(host, _)| host)
            .clone_into(&mut server.host);
        Ok(server)
    }

    /// The sink and its address, for messages.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// A new connection, with certificates as they are now: they may have been renewed.
    pub(super) fn connect(&mut self, patience: Patience) -> Result<Connection, SinkError> {
        let client = self
            .client()
            .map_err(|message| SinkError::Transient(format!("{}: {message}", self.place)))?;
        let connection = client
            .get_connection_with_timeout(patience.connect)
            .and_then(|connection| {
                connection.set_read_timeout(Some(patience.answer))?;
                connection.set_write_timeout(Some(patience.answer))?;
                Ok(connection)
            })
            .map_err(|error| self.failure(&error, patience))?;
        self.has_answered = true;
        Ok(connection)
    }

    fn client(&self) -> Result<Client, String> {
        // Fails where one is installed already, which is as well.
        let _ = ring::default_provider().install_default();
        // The error's text may contain the URL, so a password.
        let client = Client::open(self.url.as_str())
            .map_err(|error| format!("the Redis url is not usable: {}", error.category()))?;
        let Some(tls) = &self.tls else {
            return Ok(client);
        };
        let info = client.get_connection_info().clone();
        Client::build_with_tls(info, read(tls)?)
            .map_err(|error| format!("the certificates of tls are not usable: {error}"))
    }

    /// An error of connecting, in words that say what to mend.
    fn failure(&self, error: &RedisError, patience: Patience) -> SinkError {
        let is_tls = self.url.starts_with("rediss:") || self.url.starts_with("valkeys:");
        match tls_error(error) {
            Some(tls_error) => {
                let message = format!("{}: {}", self.place, self.in_words(tls_error));
                match self.has_answered {
                    true => SinkError::Transient(message),
                    false => SinkError::Fatal(message),
                }
            }
            None if !is_tls && !self.has_answered && error.is_connection_dropped() => {
                SinkError::Transient(format!(
                    "{}: {error} (if the server wants TLS at this port, the url begins with rediss://)",
                    self.place
                ))
            }
            // A server without TLS may wait for the end of what it takes for a line.
            None if is_tls && !self.has_answered && error.is_timeout() => {
                SinkError::Transient(format!(
                    "{}: no answer within {} s (without TLS the url begins with redis://)",
                    self.place,
                    patience.connect.as_secs()
                ))
            }
            None => reply::of_error(&self.place, error),
        }
    }

    fn in_words(&self, error: &rustls::Error) -> String {
        use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
        let ca = self.tls.as_ref().and_then(|tls| tls.ca.as_deref());
        match error {
            // Made by an authority of the same name with another key, such as the one before a renewal.
            InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => match ca {
                Some(ca) => format!("the server's certificate is of no authority in tls.ca {ca}"),
                None => "the server's certificate is of no authority that this system knows; name its authority's in tls.ca"
                    .to_owned(),
            },
            InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => format!("the server's certificate is not for the host {} of the url", self.host),
            InvalidCertificate(reason) => {
                format!("the server's certificate cannot be trusted: {reason}")
            }
            InvalidMessage(_) => {
                "the server does not speak TLS at this port; without TLS the url begins with redis://".to_owned()
            }
            AlertReceived(AlertDescription::CertificateRequired) => {
                "the server wants to see a certificate; name one in tls.cert, and its key in tls.key".to_owned()
            }
            AlertReceived(alert) if self.tls.as_ref().is_some_and(|tls| tls.cert.is_some()) => {
                format!("the server refuses the connection, perhaps the certificate of tls.cert: {alert:?}")
            }
            error => format!("TLS failed: {error}"),
        }
    }
}

/// The files of a configuration. They are taken apart here first: the client's own errors name no file.
fn read(tls: &RedisTlsConfig) -> Result<TlsCertificates, String> {
    let bytes = |file: &str, option: &str| {
        fs::read(file).map_err(|error| pem::wrong(Path::new(file), option, &error))
    };
    let root_cert = match &tls.ca {
        Some(file) => {
            pem::authorities(Path::new(file), "tls.ca")?;
            Some(bytes(file, "tls.ca")?)
        }
        None => None,
    };
    let client_tls = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            belong_together(cert, key)?;
            Some(ClientTlsConfig {
                client_cert: bytes(cert, "tls.cert")?,
                client_key: bytes(key, "tls.key")?,
            })
        }
        _ => None,
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert,
    })
}

fn belong_together(cert: &str, key: &str) -> Result<(), String> {
    let chain = pem::certificates(Path::new(cert), "tls.cert")?;
    let private = pem::private_key(Path::new(key), "tls.key")?;
    match CertifiedKey::from_der(chain, private, &ring::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(pem::wrong(
            Path::new(key),
            "tls.key",
            &format!("it is not the key of the certificate {cert}"),
        )),
        Err(error) => Err(pem::wrong(Path::new(cert), "tls.cert", &error)),
    }
}

/// The TLS error inside of an error of the client, if there is one.
fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    let cause = error.source()?;
    let cause = match cause.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(shared) => &**shared as &(dyn Error + 'static),
        None => cause,
    };
    match cause.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref()?.downcast_ref(),
        None => cause.downcast_ref(),
    }
}
