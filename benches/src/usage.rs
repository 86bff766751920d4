//! What this process has used.

use std::io;

/// CPU time and memory of the process so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time, user and system, all threads.
    pub cpu_seconds: f64,
    /// The largest resident set.
    pub peak_rss_bytes: u64,
}

/// Asks the kernel.
///
/// # Errors
/// If the kernel does not tell.
pub fn usage() -> io::Result<Usage> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to memory of the right size and alignment, which the call fills.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled by the call, which succeeded.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Usage {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        // In KiB on Linux.
        peak_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1_024,
    })
}
