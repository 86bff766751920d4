//! Certificates and keys in PEM files. Every error names the file, and the option or key that names it.

use std::{fmt, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// The certificates of a file.
///
/// # Errors
/// If the file cannot be read, or holds none.
pub fn certificates(path: &Path, option: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(wrong(path, option, &"it holds no certificate in PEM form"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(path, option, &error)),
    }
}

/// The authorities of a file.
///
/// # Errors
/// Those of [`certificates`], or if one of them cannot be an authority's.
pub fn authorities(path: &Path, option: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, option)? {
        roots
            .add(certificate)
            .map_err(|error| wrong(path, option, &error))?;
    }
    Ok(roots)
}

/// The private key of a file.
///
/// # Errors
/// If the file cannot be read, or holds none.
pub fn private_key(path: &Path, option: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| wrong(path, option, &error))
}

/// A message about a file that cannot be used.
pub fn wrong(path: &Path, option: &str, error: &dyn fmt::Display) -> String {
    format!("{option} {} cannot be used: {error}", path.display())
}
