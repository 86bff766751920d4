//! A network that is really cut: two machines whose cable is pulled out.

use std::{fs, time::Instant};

use tempfile::TempDir;

use super::{PEER_LOST, SOON, assert_ended, endless, running};
use crate::{
    harness::{
        certificates::Authority,
        crew::{self, Crew},
        eventually::eventually,
        machines::Machines,
        process::Command,
    },
    shop::LIMIT,
};

#[test]
fn processes_whose_network_is_cut_end_and_go_on_when_it_is_back() {
    let Some(machines) = Machines::new() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let authority = Authority::new(folder.path(), "ours");
    let addresses = machines.addresses();
    let hosts = crew::write_hosts(folder.path(), &addresses.map(|host| format!("{host}:7071")));
    let start = || {
        let processes = [0, 1].map(|index| {
            let command = Command::tidewright_in(&machines.0[index], folder.path());
            let command = running(command, &job, folder.path());
            let command = command.args(authority.arguments(addresses[index]));
            crew::as_process(command, index, 2, &hosts).start()
        });
        Crew(processes.into()).await_begin(LIMIT)
    };
    let head = || fs::read_to_string(folder.path().join("checkpoints/endless/HEAD")).ok();
    let await_checkpoint = || {
        let before = head();
        eventually(LIMIT, "a checkpoint", || {
            let now = head()?;
            (now.contains("manifests/") && Some(now) != before).then_some(())
        });
    };
    let mut crew = start();
    await_checkpoint();
    let since = Instant::now();
    machines.connect(false);
    for process in &mut crew.0 {
        assert_ended(
            process,
            &[PEER_LOST],
            &["nothing has arrived from it for 3 s"],
        );
    }
    assert!(since.elapsed() < SOON, "they took {:?}", since.elapsed());
    machines.connect(true);
    let mut crew = start();
    assert!(crew.0[0].stderr().contains("going on from the checkpoint"));
    await_checkpoint();
    crew.0[1].terminate();
    crew.wait_for_success(LIMIT);
}
