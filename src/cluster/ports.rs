//! Ports for processes that talk on one machine.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Ports below those that systems give to outgoing connections.
const PORTS: Range<u16> = 20_000..32_000;

/// Ports of the loopback interface that nobody uses now, the search for which begins at any number.
///
/// # Errors
/// If there are too few.
pub fn free_loopback_ports(count: usize, from: usize) -> Result<Vec<u16>, String> {
    let width = usize::from(PORTS.end - PORTS.start);
    let all = (0..width).map(|step| PORTS.start + ((from % width + step) % width) as u16);
    let free = all.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    let ports: Vec<_> = free.take(count).collect();
    if ports.len() < count {
        return Err(format!(
            "fewer than {count} ports are free between {} and {}",
            PORTS.start, PORTS.end
        ));
    }
    Ok(ports)
}

/// The hosts file of processes at these ports.
#[must_use]
pub fn loopback_hosts(ports: &[u16]) -> String {
    let lines = ports.iter().map(|port| format!("127.0.0.1:{port}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_use_are_passed_over_and_the_search_goes_round() {
        let last = usize::from(PORTS.end - PORTS.start) - 1;
        let first = free_loopback_ports(2, last).unwrap();
        assert!(first.iter().all(|port| PORTS.contains(port)), "{first:?}");
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first[0])).unwrap();
        let next = free_loopback_ports(2, last).unwrap();
        assert!(!next.contains(&first[0]), "{next:?} while {taken:?}");
        assert_eq!(loopback_hosts(&[7, 8]), "127.0.0.1:7\n127.0.0.1:8\n");
    }
}
