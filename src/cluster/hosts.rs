//! Where the processes of a job are: the hosts file.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::Path,
};

/// One process's name and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A host name or an address.
    pub name: String,
    /// Where the process listens.
    pub port: u16,
}

/// All processes, in the order of their indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(Vec<Host>);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl Host {
    /// `name:port` or `[address]:port`; `None` if it is neither.
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = text.rsplit_once(':')?;
        let inner = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let name = match inner {
            Some(address) => address.parse::<IpAddr>().ok()?.to_string(),
            None if name.is_empty() || name.contains([':', '[', ']', '/', ' ']) => return None,
            None => name.to_owned(),
        };
        let port = port.parse().ok().filter(|port| *port > 0)?;
        Some(Self { name, port })
    }

    /// Only this machine can be meant.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let address = self.name.parse::<IpAddr>();
        self.name == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Its addresses.
    ///
    /// # Errors
    /// If the name cannot be resolved now.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.name.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl Hosts {
    /// Reads a hosts file: one `host:port` per line, line I for process I. Empty lines and lines that begin with `#` don't
    /// count.
    ///
    /// # Errors
    /// A message that names the line, or tells that there are more or fewer than `processes`.
    pub fn read(path: &Path, processes: usize) -> Result<Self, String> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the hosts file {origin}: {error}"))?;
        Self::parse(&origin, &text, processes)
    }

    fn parse(origin: &str, text: &str, processes: usize) -> Result<Self, String> {
        let mut hosts = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let host = Host::parse(line).ok_or_else(|| {
                format!(
                    "{origin}, line {number}: {line:?} is no host:port, such as worker-1.example:7071"
                )
            })?;
            if hosts.contains(&host) {
                return Err(format!(
                    "{origin}, line {number}: {host} is there already: every process needs a place of its own"
                ));
            }
            hosts.push(host);
        }
        if hosts.len() != processes {
            return Err(format!(
                "{origin} lists {} process(es), but --processes says {processes}: there must be one line per process",
                hosts.len()
            ));
        }
        Ok(Self(hosts))
    }

    /// The first process that is not on the loopback interface.
    #[must_use]
    pub fn beyond_loopback(&self) -> Option<&Host> {
        self.0.iter().find(|host| !host.is_loopback())
    }

    /// How many processes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The process with this index, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Host> {
        self.0.get(index)
    }

    /// All processes with their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Host)> {
        self.0.iter().enumerate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_processes_in_their_order() {
        let text = "# two machines\nworker-0.example:7071\n\n  [::1]:7072\n";
        let hosts = Hosts::parse("hosts", text, 2).expect("it is a hosts file");
        let shown: Vec<_> = hosts
            .iter()
            .map(|(index, host)| format!("{index} {host}"))
            .collect();
        assert_eq!(shown, ["0 worker-0.example:7071", "1 [::1]:7072"]);
        let beyond = hosts.beyond_loopback().map(ToString::to_string);
        assert_eq!(beyond.as_deref(), Some("worker-0.example:7071"));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, told) in [
            ("localhost", "line 1"),
            ("localhost:1\nlocalhost:x", "line 2"),
            ("localhost:0", "line 1"),
            (":7071", "line 1"),
            ("http://a:1", "line 1"),
            ("::1:7071", "line 1"),
            ("a:1\na:1", "is there already"),
            ("a:1", "lists 1 process(es), but --processes says 2"),
            ("a:1\nb:1\nc:1", "lists 3 process(es)"),
        ] {
            let error = Hosts::parse("hosts", text, 2).expect_err(text);
            assert!(error.contains(told), "{text:?}: {error}");
        }
    }

    #[test]
    fn only_addresses_that_cannot_leave_the_machine_are_loopback() {
        for (text, loopback) in [
            ("localhost:1", true),
            ("127.0.0.9:1", true),
            ("[::1]:1", true),
            ("10.0.0.1:1", false),
            ("0.0.0.0:1", false),
            ("localhost.example:1", false),
        ] {
            let host = Host::parse(text).expect(text);
            assert_eq!(host.is_loopback(), loopback, "{text}");
        }
    }
}
