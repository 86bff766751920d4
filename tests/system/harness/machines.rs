//! Machines that exist only for a test: network namespaces with a cable between them.

use std::{
    io::{self, Write},
    process::{self, Stdio},
    thread,
};

use super::services::{skip, unique_name};

/// The end of the cable in each of them.
const CABLE: &str = "cable";
/// Addresses that nobody outside of the namespaces can reach.
const ADDRESSES: [&str; 2] = ["10.99.0.1", "10.99.0.2"];

/// Two machines; they vanish when dropped.
pub struct Machines(pub [String; 2]);

impl Machines {
    /// `None` where nobody may make namespaces: that needs root, who must be able to where everything must run.
    pub fn new() -> Option<Self> {
        let machines = Self(["left", "right"].map(unique_name));
        let [left, right] = &machines.0;
        let made = ip(&["netns", "add", left]) && ip(&["netns", "add", right]);
        if !made {
            return cannot_be_made();
        }
        let cable = [
            "link", "add", CABLE, "netns", left, "type", "veth", "peer", CABLE, "netns", right,
        ];
        assert!(ip(&cable), "a cable");
        for (machine, address) in machines.0.iter().zip(ADDRESSES) {
            let address = format!("{address}/24");
            assert!(ip(&[
                "-n", machine, "address", "add", &address, "dev", CABLE
            ]));
            assert!(ip(&["-n", machine, "link", "set", "lo", "up"]));
        }
        machines.connect(true);
        Some(machines)
    }

    /// Where they reach each other.
    pub fn addresses(&self) -> [&'static str; 2] {
        ADDRESSES
    }

    /// Plugs the cable in, or pulls it out.
    pub fn connect(&self, connected: bool) {
        let state = if connected { "up" } else { "down" };
        for machine in &self.0 {
            assert!(ip(&["-n", machine, "link", "set", CABLE, state]));
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in &self.0 {
            ip(&["netns", "delete", machine]);
        }
    }
}

fn cannot_be_made<T>() -> Option<T> {
    let reason = "network namespaces cannot be made here (root and iproute2 are needed)";
    if rustix::process::geteuid().is_root() {
        return skip(reason);
    }
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Not by a macro: what a test prints is kept back unless it fails.
    let _ = writeln!(io::stderr(), "skipped {test}: {reason}");
    None
}

fn ip(arguments: &[&str]) -> bool {
    let mut command = process::Command::new("ip");
    let command = command.args(arguments).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
