//! Shadows of the job, also those that make its views again.

use super::*;

impl House {
    /// Runs a shadow of the job until it has everything that has been produced.
    pub fn run_shadow(&self, says: &Says, shadow: &str, flags: &[&str]) -> Process {
        let (command, checkpoints) = self.shadow(says, shadow, flags);
        self.run_to_the_end(command, &checkpoints)
    }

    /// As [`Self::run_shadow`], of a shadow that was never there, and events come until it has begun.
    pub fn run_shadow_fed(&self, says: &Says, shadow: &str, flags: &[&str]) -> Process {
        let (command, checkpoints) = self.shadow(says, shadow, flags);
        let mut process = command.start();
        eventually(LIMIT, "the shadow is claimed", || {
            let log = process.stderr();
            assert!(process.is_running(), "ended by itself:\n{log}");
            self.produce(10, 0);
            (!checkpoints.is_empty()).then_some(())
        });
        self.produce(10, 0);
        self.end_with_everything(process, &checkpoints)
    }

    fn shadow(&self, says: &Says, shadow: &str, flags: &[&str]) -> (Command, Checkpoints) {
        let flags = [&["--shadow", shadow, "--summary", "json"], flags].concat();
        let command = self.command(&self.name, says, &flags);
        let job = format!("{}.shadow.{shadow}", self.name);
        (command, Checkpoints::of(&self.store_url(), &job))
    }

    /// Makes a view again while the job runs in another process, which produces meanwhile; ends with everything.
    pub fn rebuild(&self, says: &Says, view: &str, running: Process) -> Process {
        self.rebuild_in(says, view, running, &[])
    }

    /// As [`Self::rebuild`], with more flags.
    pub fn rebuild_in(
        &self,
        says: &Says,
        view: &str,
        mut running: Process,
        more: &[&str],
    ) -> Process {
        let claim = self.checkpoints().claim();
        let socket = self.other_socket();
        let flags = ["--rebuild-view", view, "--take-over", SOCKET];
        let flags = [
            &flags[..],
            &["--socket", &socket, "--summary", "json"],
            more,
        ]
        .concat();
        let command = self.command(&self.name, says, &flags);
        let told = "warn,tidewright::job::rebuild=info";
        let mut process = command.env("RUST_LOG", told).start();
        eventually(LIMIT, "the job is taken over", || {
            assert!(
                process.is_running(),
                "ended by itself:\n{}",
                process.stderr()
            );
            if running.is_running() {
                self.produce(10, 0);
            }
            (self.checkpoints().claim() != claim).then_some(())
        });
        running.wait_for_success(LIMIT);
        self.await_everything(&mut process, &self.checkpoints());
        self.await_no_shadow("rebuild");
        process.terminate();
        process.wait_for_success(LIMIT);
        let log = process.stderr();
        assert!(
            log.contains("reading what has come since"),
            "nothing has come while the shadow ran:\n{log}"
        );
        process
    }

    /// Waits until nothing of a shadow is left.
    fn await_no_shadow(&self, shadow: &str) {
        let job = format!("{}.shadow.{shadow}", self.name);
        let checkpoints = Checkpoints::of(&self.store_url(), &job);
        let prefix = format!("shadow:{shadow}:{}:", self.name);
        eventually(LIMIT, "the shadow is removed", || {
            let rows = self.redis.hashes(&prefix);
            (rows.is_empty() && checkpoints.is_empty()).then_some(())
        });
    }

    /// A shadow must be refused; what is said.
    pub fn refused_as_shadow(&self, says: &Says, shadow: &str, flags: &[&str]) -> String {
        let flags = [&["--shadow", shadow], flags].concat();
        self.refuses(self.command(&self.name, says, &flags))
    }

    /// The rows of a shadow's sink.
    pub fn shadow_rows(
        &self,
        shadow: &str,
        sink: &str,
    ) -> BTreeMap<String, BTreeMap<String, String>> {
        self.rows_of(&format!("shadow:{shadow}:{}", self.name), sink)
    }
}
