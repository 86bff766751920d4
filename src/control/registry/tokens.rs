//! Tokens. Only their hashes are stored; a token is 244 random bits, so a plain SHA-256 cannot be turned back.

use sha2::{Digest, Sha256};

use super::records::{Role, Token};
use super::{Registry, RegistryError, TOKENS};

impl Registry {
    /// Registers a token by its hash.
    ///
    /// # Errors
    /// [`RegistryError::Token`] if the name is taken, or if the database fails.
    pub fn add_token(
        &self,
        name: &str,
        role: Role,
        secret: &str,
        now_ms: u64,
    ) -> Result<Token, RegistryError> {
        let token = Token {
            name: name.to_owned(),
            role,
            created_ms: now_ms,
        };
        self.write(|transaction| {
            let known = TOKENS.entries(transaction)?;
            if known.iter().any(|known| known.name == name) {
                return Err(RegistryError::Token(format!(
                    "there is a token named {name} already; revoke it first, or choose another name"
                )));
            }
            TOKENS.put(transaction, &*sha256(secret.as_bytes()), &token)
        })?;
        Ok(token)
    }

    /// What the bearer of a token may do; `None` if it is no token.
    ///
    /// # Errors
    /// If the database fails.
    pub fn token(&self, secret: &str) -> Result<Option<Token>, RegistryError> {
        TOKENS.read(&self.read()?, &*sha256(secret.as_bytes()))
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// If the database fails.
    pub fn tokens(&self) -> Result<Vec<Token>, RegistryError> {
        let mut tokens = TOKENS.all(&self.read()?)?;
        tokens.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(tokens)
    }

    /// Makes a token worthless.
    ///
    /// # Errors
    /// [`RegistryError::Token`] if there is none of this name, or it is the last one of an admin.
    pub fn revoke_token(&self, name: &str) -> Result<(), RegistryError> {
        self.write(|transaction| {
            let known = TOKENS.entries(transaction)?;
            if !known.iter().any(|token| token.name == name) {
                return Err(RegistryError::NoSuchToken(name.to_owned()));
            }
            let admins = known.iter().filter(|token| token.role == Role::Admin);
            if admins.map(|token| &*token.name).eq([name]) {
                return Err(RegistryError::Token(format!(
                    "{name} is the last admin token; make another one first"
                )));
            }
            TOKENS.retain(transaction, |token| token.name != name)
        })
    }
}

/// A new token, which nobody knows.
#[must_use]
pub fn new_secret() -> String {
    let random = || uuid::Uuid::new_v4().simple().to_string();
    format!("tidewright_{}{}", random(), random())
}

/// SHA-256 as hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}
