//! The forms of values. Messages repeat no header: it may be a secret.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// The exporters make room for so many at once, at the start.
const COUNT_MAX: u64 = 1_000_000;

/// A number of records or spans.
pub(super) fn count(variable: &str, value: &str) -> Result<u64, String> {
    match value.trim().parse::<u64>() {
        Ok(number) if (1..=COUNT_MAX).contains(&number) => Ok(number),
        _ => Err(format!(
            "{variable}={value} is no whole number from 1 to {COUNT_MAX}. Correct or unset it"
        )),
    }
}

/// A time above zero.
pub(super) fn milliseconds(variable: &str, value: &str) -> Result<Duration, String> {
    match value.trim().parse::<u64>() {
        Ok(number) if number > 0 => Ok(Duration::from_millis(number)),
        _ => Err(format!(
            "{variable}={value} is no whole number of milliseconds above 0. Correct or unset it"
        )),
    }
}

/// `name=value,name=value`, with values percent-encoded.
pub(super) fn pairs(variable: &str, value: &str) -> Result<Vec<(String, String)>, String> {
    let entries = value.split(',').map(str::trim).enumerate();
    let entries = entries.filter(|(_, entry)| !entry.is_empty());
    let pairs = entries.map(|(index, entry)| {
        let pair = entry.split_once('=').and_then(|(name, value)| {
            let name = Some(name.trim()).filter(|name| !name.is_empty())?;
            Some((name.to_owned(), decoded(value.trim())?))
        });
        pair.ok_or_else(|| {
            format!(
                "entry {} of {variable} is not understood: write name=value,name=value, with %2C for a comma and %25 for a percent \
                 sign in values",
                index + 1
            )
        })
    });
    pairs.collect()
}

/// Headers, which are not shown anywhere.
pub(super) fn headers(variable: &str, value: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(variable, value)? {
        let header = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(&value);
        let (Ok(header), Ok(mut value)) = (header, value) else {
            return Err(format!(
                "the header `{name}` of {variable} cannot be sent: a name is of letters, digits and `-`, and a value has no line \
                 breaks"
            ));
        };
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// Without percent encoding; `None` if it is broken.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}
