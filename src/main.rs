//! The `tidewright` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's option `purge_delay`, which its Rust bindings don't name: after how many milliseconds memory that was freed goes back
/// to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Batches and checkpoints are made and freed all the time. After mimalloc's own second, the kernel took their memory away and had to
/// clear it again, which was a twentieth of all CPU time of a busy job; a job that has become idle still gives it back.
const PURGE_DELAY_MS: std::ffi::c_long = 10_000;

fn main() -> ExitCode {
    // SAFETY: sets a number in mimalloc's table of options, before there are other threads. `MIMALLOC_PURGE_DELAY` goes before it.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
    tidewright::cli::main()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_option_is_the_delay_of_purges() {
        // SAFETY: reads a number. A second is the default of mimalloc 3, and of no other option.
        let delay = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(delay, 1_000);
    }
}
