//! The program's own memory: what only its start has needed is given back.

use std::{fs, ops::Range, thread, time::Duration};

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
    fn a_process_goes_on_without_its_code_in_memory() {
        give_code_back();
        assert_eq!(
            code("1000-2000 r-xp 0 0 0 /p\n", "/p"),
            vec![0x1000..0x2000]
        );
    }
}
