//! The flags that say what becomes of state that does not fit the job file.

use clap::Args;

use crate::job::Allowed;

/// What becomes of state that does not fit the job file any more.
#[derive(Debug, Args)]
#[command(next_help_heading = "Restoring after a change of the job file")]
pub struct UpgradeArguments {
    /// Lets this view or source begin anew, with everything that derives from it. A sink that only appends forgets what it has
    /// not sent. May be repeated.
    #[arg(long, value_name = "NAME")]
    reset_view: Vec<String>,
    /// Makes this view, with everything that derives from it, again from the records that its sources still hold, while the job
    /// goes on (with --take-over, if it runs); compares what its keyed sinks hold with that, and puts it in their place. May be
    /// repeated.
    #[arg(long, value_name = "NAME")]
    rebuild_view: Vec<String>,
    /// Drops the state of this view, source or sink, which the job file no longer has. May be repeated.
    #[arg(long, value_name = "NAME")]
    drop_view: Vec<String>,
    /// Drops all state that has no place in the job file.
    #[arg(long)]
    allow_non_restored_state: bool,
}

impl UpgradeArguments {
    /// What the flags allow.
    pub fn allowed(&self) -> Allowed {
        Allowed {
            reset: self.reset_view.iter().cloned().collect(),
            rebuilt: self.rebuild_view.iter().cloned().collect(),
            dropped: self.drop_view.iter().cloned().collect(),
            non_restored_state: self.allow_non_restored_state,
            ..Allowed::default()
        }
    }
}
