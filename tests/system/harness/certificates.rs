//! Certificates of an authority that exists only for a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    name: String,
}

impl Authority {
    /// A new one, whose files go into a folder.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join(format!("{name}-ca.pem")), issuer.pem()).unwrap();
        Self {
            issuer,
            folder: folder.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join(format!("{}-ca.pem", self.name))
    }

    /// A new certificate for a host, and its key.
    pub fn certificate(&self, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &*self.issuer).unwrap();
        let path = |kind: &str| self.folder.join(format!("{}-{host}-{kind}.pem", self.name));
        fs::write(path("cert"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("cert"), path("key"))
    }

    /// Arguments of a process that trusts this authority and has its certificate for a host.
    pub fn arguments(&self, host: &str) -> Vec<String> {
        let (cert, key) = self.certificate(host);
        [
            ("--tls-ca", self.ca()),
            ("--tls-cert", cert),
            ("--tls-key", key),
        ]
        .map(|(option, path)| [option.to_owned(), path.display().to_string()])
        .concat()
    }
}
