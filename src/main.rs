//! The `tidewright` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidewright::resident::use_small_pages();
    tidewright::resident::keep_freed_memory();
    tidewright::cli::main()
}

#[cfg(test)]
mod tests {
    use tidewright::resident;

    #[test]
    fn the_option_is_the_delay_of_purges() {
        // SAFETY: reads a number.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(resident::PURGE_DELAY) };
        // The default of mimalloc 3, and of no other option.
        assert_eq!(delay(), 1_000);
        resident::keep_freed_memory();
        assert_eq!(delay(), 10_000);
        resident::give_freed_memory_back();
        assert_eq!(delay(), 100);
    }
}
