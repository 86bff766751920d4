//! No job file, however broken, may do more than be refused.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise"
)]

use proptest::prelude::*;
use tidewright_jobs::{MissingEnv, compile_with, units::DurationMs};

const JOB: &str = include_str!("../personalization.yaml");

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_refused_or_compiled_but_never_panics(
        start in 0..JOB.len(),
        length in 0..60usize,
        inserted in "[ -~\\n]{0,8}",
    ) {
        let mut bytes = JOB.as_bytes().to_vec();
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, inserted.bytes());
        let text = String::from_utf8_lossy(&bytes);
        if let Err(found) = compile_with("job.yaml", &text, &[], &|_| None, MissingEnv::Warn) {
            prop_assert!(!found.0.is_empty());
            let lines = text.lines().count();
            for d in &found.0 {
                prop_assert!(d.line >= 1 && d.line <= lines + 1 && d.column >= 1, "{d}");
            }
        }
    }

    #[test]
    fn a_duration_is_read_back_as_it_is_shown(ms in 0..=10_000_000_000_000u64) {
        prop_assert_eq!(DurationMs::parse(&DurationMs(ms).to_string()), Some(DurationMs(ms)));
    }
}
