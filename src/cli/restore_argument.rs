//! `--restore`: what a run starts from, as it is said on the command line.

use std::str::FromStr;

use crate::job::Restore;

/// What `run --restore` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreArgument {
    /// The live job's latest checkpoint, for a shadow that begins anew.
    Live,
    /// Whatever is no shadow's own affair.
    Of(Restore),
}

impl FromStr for RestoreArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "live" => Ok(Self::Live),
            _ => text.parse().map(Self::Of),
        }
    }
}

impl RestoreArgument {
    /// What the job of this name, or a shadow of it, starts from; the latest checkpoint if nothing is said.
    ///
    /// # Errors
    /// If a job that is no shadow is to start from the live job.
    pub fn of(said: Option<&Self>, job: &str, is_shadow: bool) -> Result<Restore, String> {
        let latest_of = |anew| Restore::LatestOf {
            job: job.to_owned(),
            anew,
        };
        match said {
            Some(Self::Of(Restore::Latest)) if is_shadow => Ok(latest_of(false)),
            Some(Self::Live) if is_shadow => Ok(latest_of(true)),
            Some(Self::Live) => Err(
                "--restore live is for a shadow (--shadow NAME), which begins anew with the state of the live job; the job itself \
                 goes on from its latest checkpoint without --restore"
                    .to_owned(),
            ),
            Some(Self::Of(restore)) => Ok(restore.clone()),
            None => Ok(Restore::Latest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_takes_latest_and_live_from_its_job() {
        let of = |said: Option<&str>, is_shadow| {
            let said = said.map(|said| said.parse().unwrap());
            RestoreArgument::of(said.as_ref(), "shop", is_shadow)
        };
        let latest_of = |anew| Restore::LatestOf {
            job: "shop".to_owned(),
            anew,
        };
        assert_eq!(of(None, true), Ok(Restore::Latest));
        assert_eq!(of(Some("latest"), false), Ok(Restore::Latest));
        assert_eq!(of(Some("latest"), true), Ok(latest_of(false)));
        assert_eq!(of(Some("live"), true), Ok(latest_of(true)));
        assert_eq!(of(Some("none"), true), Ok(Restore::Nothing));
        let refused = of(Some("live"), false).unwrap_err();
        assert!(refused.contains("--shadow"), "{refused}");
    }
}
