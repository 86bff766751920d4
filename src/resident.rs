//! The program's own memory: what was freed is kept for a while, and what only the start has needed is given back.

use std::{ffi::c_long, fs, ops::Range, thread, time::Duration};

/// mimalloc's option `purge_delay`, which its Rust bindings don't name: after how many milliseconds memory that was freed goes back
/// to the system.
pub const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Batches and checkpoints are made and freed all the time. After mimalloc's own second, the kernel took their memory away and had to
/// clear it again, which was a twentieth of all CPU time of a busy job; a job that has become idle still gives it back.
const KEPT_MS: c_long = 10_000;
/// Where memory is limited, less of it counts for more than a tenth of the CPU time.
const KEPT_MS_IF_LIMITED: c_long = 100;

/// Lets freed memory stay with this process for some seconds, unless the environment says otherwise (`MIMALLOC_PURGE_DELAY`).
pub fn keep_freed_memory() {
    delay_purges(KEPT_MS);
}

/// Gives freed memory back soon, unless the environment says otherwise: for jobs that limit their memory.
pub fn give_freed_memory_back() {
    delay_purges(KEPT_MS_IF_LIMITED);
    // What is due already would stay for the time that it was kept before, and all that is freed until then with it.
    // SAFETY: gives back what is free.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Lets the kernel give memory in its usual small pages, unless the environment says otherwise (`MIMALLOC_ALLOW_THP=1`).
///
/// mimalloc asks for huge ones. They make looking up millions of keys a thirtieth faster, but a huge page is cleared long before all of it is
/// used, so that a busy job took a sixth more memory and a twentieth more CPU time with them.
pub fn use_small_pages() {
    if std::env::var_os("MIMALLOC_ALLOW_THP").is_some() {
        return;
    }
    let on: libc::c_ulong = 1;
    let unused: libc::c_ulong = 0;
    // An old kernel that does not know of it leaves all as it was.
    // SAFETY: sets a flag of this process, which does not change what memory holds.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused) };
}

fn delay_purges(milliseconds: c_long) {
    // SAFETY: sets a number in mimalloc's table of options, which it reads whenever it has freed something. What the
    // environment has set stays.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, milliseconds) };
}

/// How long after its start a process is expected to do nothing new.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// Gives the program's code back to the system once the process has settled: reading a job file and planning its SQL takes tens
/// of megabytes of it that a running job never comes back to. What is still needed is mapped again as it is used.
pub fn forget_start() {
    // Without the thread it is as it was.
    let _ = thread::Builder::new().name("settle".to_owned()).spawn(|| {
        thread::sleep(SETTLED_AFTER);
        give_code_back();
    });
}

fn give_code_back() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Ok(program) = fs::read_link("/proc/self/exe") else {
        return;
    };
    for range in code(&maps, &program.to_string_lossy()) {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is a mapping of the program's file that is private and not writable, so all of it is as in the
        // file, and is read from there again wherever it is touched next.
        unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
    }
}

/// Where the code of a program's file is mapped, by the text of `/proc/PID/maps`.
fn code(maps: &str, program: &str) -> Vec<Range<usize>> {
    let range = |line: &str| {
        let (addresses, rest) = line.split_once(' ')?;
        let is_code = rest.starts_with("r-xp") && rest.ends_with(program);
        let (start, end) = addresses.split_once('-').filter(|_| is_code)?;
        let address = |digits| usize::from_str_radix(digits, 16).ok();
        Some(address(start)?..address(end)?)
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_given_back() {
        let maps = "\
55d0-55d8 r--p 00000000 fe:00 9 /bin/tidewright
55d8-55f0 r-xp 00000800 fe:00 9 /bin/tidewright
55f0-55f8 r--p 00002000 fe:00 9 /bin/tidewright
55f8-5600 rw-p 00002800 fe:00 9 /bin/tidewright
7f00-7f10 r-xp 00000000 fe:00 7 /lib/libc.so.6
7f10-7f20 r-xp 00000000 00:00 0
";
        assert_eq!(code(maps, "/bin/tidewright"), vec![0x55d8..0x55f0]);
        assert!(code("nonsense\n", "/bin/tidewright").is_empty());
    }

    #[test]
    fn huge_pages_can_be_left_alone() {
        use_small_pages();
        // SAFETY: asks for a flag.
        let disabled = unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) };
        assert_eq!(disabled, 1);
    }

    #[test]
    fn a_process_goes_on_without_its_code_in_memory() {
        give_code_back();
        assert_eq!(
            code("1000-2000 r-xp 0 0 0 /p\n", "/p"),
            vec![0x1000..0x2000]
        );
    }
}
