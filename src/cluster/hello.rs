//! The handshake: who a peer is, and whether it runs the same.
//!
//! ```text
//!  dialer                         listener
//!    │ MAGIC, Hello ─────────────────> │  same settings, certificate for its line of the hosts file?
//!    │ <───── MAGIC, Welcome(Hello) ── │  or Refused(reason)
//! ```

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The first bytes of either side: name and version of the protocol.
const MAGIC: &[u8; 16] = b"tidewright-mesh2";
/// A longer hello is none.
const LENGTH_MAX: usize = 1 << 20;
/// A difference between two hosts' clocks that is reported, in milliseconds.
const SKEW_MAX_MS: u64 = 1_000;

/// What a process tells about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its index.
    pub index: usize,
    /// Its wall clock, milliseconds since 1970.
    pub wall_ms: u64,
    /// What must be the same in all processes.
    pub agreed: BTreeMap<String, String>,
}

/// The listener's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The connection stands.
    Welcome(Hello),
    /// It does not, for this reason.
    Refused(String),
}

/// Sends a hello or a reply.
pub fn send(stream: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(what)?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    stream.write_all(&[MAGIC, &length[..], &text].concat())?;
    stream.flush()
}

/// Receives a hello or a reply.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(io::Error::other(
            "it speaks another protocol; perhaps one side uses --tls-ca and the other does not",
        ));
    }
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LENGTH_MAX {
        return Err(io::Error::other(format!("a hello of {length} bytes")));
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// What two processes run otherwise, if anything.
pub fn difference(ours: &Hello, theirs: &Hello) -> Option<String> {
    let names = ours.agreed.keys().chain(theirs.agreed.keys());
    let mut different = names.filter(|name| ours.agreed.get(*name) != theirs.agreed.get(*name));
    let name = different.next()?;
    let value = |of: &Hello| {
        let value = of.agreed.get(name);
        value.map_or_else(|| "absent".to_owned(), Clone::clone)
    };
    Some(format!(
        "{name} is {} at process {} but {} at process {}: all processes must be started with the same job file and options",
        value(theirs),
        theirs.index,
        value(ours),
        ours.index
    ))
}

/// How far a peer's clock is from this one's, if that is worth a warning.
pub fn skew(peer: &impl std::fmt::Display, theirs_ms: u64, ours_ms: u64) -> Option<String> {
    let apart = theirs_ms.abs_diff(ours_ms);
    (apart > SKEW_MAX_MS).then(|| {
        format!(
            "the clock of {peer} is {:.1} s {} this host's: epochs, lag and latencies will be told wrongly; set both by NTP",
            apart as f64 / 1000.0,
            if theirs_ms > ours_ms { "ahead of" } else { "behind" }
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_hello_arrives_as_it_was_sent_and_anything_else_is_refused() {
        let hello = Hello {
            index: 2,
            wall_ms: 17,
            agreed: agreed(&[("job", "a")]),
        };
        let mut bytes = Vec::new();
        send(&mut bytes, &hello).expect("writes");
        assert_eq!(receive::<Hello>(&mut &*bytes).expect("reads"), hello);
        assert!(receive::<Hello>(&mut &bytes[..bytes.len() - 1]).is_err());
        let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let error = receive::<Hello>(&mut &http[..]).expect_err("no hello");
        assert!(error.to_string().contains("another protocol"), "{error}");
    }

    #[test]
    fn the_first_difference_is_named_with_both_processes() {
        let hello = |index, pairs: &[(&str, &str)]| Hello {
            index,
            wall_ms: 0,
            agreed: agreed(pairs),
        };
        let ours = hello(0, &[("job", "a"), ("workers", "2")]);
        assert_eq!(
            difference(&ours, &hello(1, &[("job", "a"), ("workers", "2")])),
            None
        );
        let told = difference(&ours, &hello(1, &[("job", "a"), ("workers", "3")]));
        let told = told.expect("they differ");
        assert!(
            told.contains("workers is 3 at process 1 but 2 at process 0"),
            "{told}"
        );
        let told = difference(&ours, &hello(1, &[("job", "a")])).expect("they differ");
        assert!(told.contains("workers is absent at process 1"), "{told}");
    }

    #[test]
    fn clocks_that_are_more_than_a_second_apart_are_reported_by_host() {
        assert_eq!(skew(&"process 1 (b:1)", 10_000, 10_900), None);
        let told = skew(&"process 1 (b:1)", 13_500, 10_000).expect("far apart");
        assert!(told.contains("process 1 (b:1) is 3.5 s ahead of"), "{told}");
        let told = skew(&"process 1 (b:1)", 10_000, 12_000).expect("far apart");
        assert!(told.contains("2.0 s behind"), "{told}");
    }
}
