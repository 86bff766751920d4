//! Machines that exist only for a test: network namespaces with a cable between them.

use std::process::{self, Stdio};

use super::services::unique_name;

/// The end of the cable in each of them.
const CABLE: &str = "cable";
/// Addresses that nobody outside of the namespaces can reach.
const ADDRESSES: [&str; 2] = ["10.99.0.1", "10.99.0.2"];

/// Two machines; they vanish when dropped.
pub struct Machines(pub [String; 2]);

impl Machines {
    /// `None` where nobody may make namespaces.
    pub fn new() -> Option<Self> {
        let machines = Self(["left", "right"].map(unique_name));
        let [left, right] = &machines.0;
        let made = ip(&["netns", "add", left]) && ip(&["netns", "add", right]);
        if !made {
            eprintln!(
                "skipped: network namespaces cannot be made here (root and iproute2 are needed)"
            );
            return None;
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

fn ip(arguments: &[&str]) -> bool {
    let mut command = process::Command::new("ip");
    let command = command.args(arguments).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
