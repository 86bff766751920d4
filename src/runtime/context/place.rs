//! Where a process stands among those of its job.

/// Where a process stands among those of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How many processes there are.
    pub processes: usize,
    /// This one.
    pub process: usize,
    /// Workers of each process.
    pub threads: usize,
}

impl Place {
    /// Number of workers of the whole job.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.processes * self.threads
    }

    /// The first worker of this process.
    #[must_use]
    pub fn first_worker(&self) -> usize {
        self.process * self.threads
    }

    /// Whether a worker is a thread of this process.
    #[must_use]
    pub fn is_here(&self, worker: usize) -> bool {
        worker / self.threads.max(1) == self.process
    }

    /// This process holds the claim, publishes checkpoints and has what can be in one place only.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.process == 0
    }
}
