//! Who is shown rows: the queue that they wait in, and its two ends.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::sampling::{Sampler, Sampling};
use super::{Shown, Tap};

/// Rows of this process that wait for a listener at most.
pub(super) const QUEUE_ROWS_MAX: usize = 1_000;
/// While rows of this process of so many bytes wait for a listener, it gets no more of them.
pub(super) const QUEUE_BYTES_MAX: usize = 1 << 20;
/// A row whose text is longer is not sent to another process: messages between processes have a limit, which escaping doubles a
/// text towards.
pub(super) const SHARED_LINE_MAX: usize = 4 << 20;

/// Somebody who is shown rows.
#[derive(Debug)]
pub(super) struct Listener {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Queue {
    sampler: Sampler,
    lines: VecDeque<Line>,
    /// How many of the lines come from this process.
    lines_here: usize,
    /// The bytes of those.
    bytes_here: usize,
    /// Rows that have passed in this process.
    passed_here: u64,
    /// This process's workers have ended.
    over_here: bool,
    /// The other processes whose rows are shown, too.
    others: BTreeMap<usize, Other>,
}

/// What is known of another process.
#[derive(Debug, Default)]
struct Other {
    /// How many of the lines come from there.
    lines: usize,
    /// Everything that it has sent was taken, and it has not been told yet.
    is_emptied: bool,
    passed: u64,
    over: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    text: String,
    rows: u64,
    /// The process that it comes from, if it is another one.
    #[serde(skip)]
    from: Option<usize>,
}

/// What a listener takes of the rows of one process, on its way to the process whose client is shown them.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    lines: Vec<Line>,
    /// Rows that have passed there since the tap was opened.
    passed: u64,
    /// Nothing more will come from there.
    over: bool,
}

impl Share {
    /// The last one of its process.
    #[must_use]
    pub fn last(self) -> Self {
        Self { over: true, ..self }
    }

    /// Rows that have passed since the tap was opened.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// There is nothing to show, and no end to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.over
    }
}

impl Listener {
    fn new(sampling: Sampling) -> Self {
        Self {
            queue: Mutex::new(Queue {
                sampler: Sampler::new(sampling, Instant::now()),
                lines: VecDeque::new(),
                lines_here: 0,
                bytes_here: 0,
                passed_here: 0,
                over_here: false,
                others: BTreeMap::new(),
            }),
            arrived: Condvar::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No more rows will come from this process.
    pub(super) fn end(&self) {
        self.queue().over_here = true;
        self.arrived.notify_all();
    }

    /// The queue is locked only to choose and to append: no worker waits while another one makes text.
    pub(super) fn offer(&self, rows: usize, now: Instant, show: &impl Fn(usize) -> Shown) {
        let (chosen, mut room) = self.queue().choose(rows, now);
        let mut lines = Vec::new();
        let mut others = BTreeSet::new();
        for &row in &chosen {
            if room == 0 {
                break;
            }
            if others.contains(&row) {
                continue;
            }
            let shown = show(row);
            room = room.saturating_sub(shown.text.len());
            others.extend(shown.other);
            lines.push(Line {
                rows: 1 + u64::from(shown.other.is_some()),
                text: shown.text,
                from: None,
            });
        }
        let mut queue = self.queue();
        queue.passed_here += rows as u64;
        queue.sampler.give_back(chosen.len() - lines.len());
        queue.lines_here += lines.len();
        queue.bytes_here += lines.iter().map(|line| line.text.len()).sum::<usize>();
        queue.lines.extend(lines);
        self.arrived.notify_all();
    }
}

impl Queue {
    /// The rows to show, and how many bytes of them there is room for, about.
    fn choose(&mut self, rows: usize, now: Instant) -> (Vec<usize>, usize) {
        let bytes = QUEUE_BYTES_MAX.saturating_sub(self.bytes_here);
        let room = match bytes {
            0 => 0,
            _ => QUEUE_ROWS_MAX.saturating_sub(self.lines_here),
        };
        (self.sampler.choose(rows, room, now), bytes)
    }

    fn take(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        match line.from {
            None => {
                self.lines_here -= 1;
                self.bytes_here -= line.text.len();
            }
            Some(process) => {
                let other = self.others.entry(process).or_default();
                other.lines -= 1;
                other.is_emptied = other.lines == 0;
            }
        }
        Some(line)
    }

    fn passed(&self) -> u64 {
        let others = self.others.values();
        self.passed_here + others.map(|other| other.passed).sum::<u64>()
    }

    /// Nothing more will be in it.
    fn is_over(&self) -> bool {
        self.lines.is_empty() && self.over_here && self.others.values().all(|other| other.over)
    }
}

/// An open tap; it closes when it is dropped.
#[derive(Debug)]
pub struct Listening {
    tap: Arc<Tap>,
    listener: Arc<Listener>,
    count: Arc<AtomicUsize>,
}

/// What has passed since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// What is shown of it.
    pub lines: Vec<String>,
    /// How many rows that is: a changed row of a table is two, its old image and its new one.
    pub shown: u64,
    /// Rows that have passed since the tap was opened.
    pub passed: u64,
    /// The other processes of which everything has been shown that they have sent: each is told that it may send more.
    pub emptied: Vec<usize>,
    /// Nothing more will come.
    pub over: bool,
}

impl Listening {
    /// A tap that is counted already.
    pub(super) fn new(tap: Arc<Tap>, sampling: Sampling, count: Arc<AtomicUsize>) -> Self {
        Self {
            tap,
            listener: Arc::new(Listener::new(sampling)),
            count,
        }
    }

    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// At most so many lines, as soon as there are any; none if none come in this time.
    #[must_use]
    pub fn next(&self, lines_max: usize, patience: Duration) -> Passed {
        let waits = |queue: &mut Queue| queue.lines.is_empty() && !queue.is_over();
        let arrived = &self.listener.arrived;
        let waited = arrived.wait_timeout_while(self.listener.queue(), patience, waits);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let taken = lines_max.min(queue.lines.len());
        let lines: Vec<Line> = (0..taken).filter_map(|_| queue.take()).collect();
        let others = queue.others.iter_mut();
        let emptied = others.filter_map(|(process, other)| {
            let is_news = mem::take(&mut other.is_emptied) && !other.over;
            is_news.then_some(*process)
        });
        Passed {
            shown: lines.iter().map(|line| line.rows).sum(),
            lines: lines.into_iter().map(|line| line.text).collect(),
            emptied: emptied.collect(),
            passed: queue.passed(),
            over: queue.is_over(),
        }
    }

    /// What another process takes of the rows here, at once, until they have so many bytes. A row that is too long for a message is
    /// left out, and counted as such.
    #[must_use]
    pub fn share(&self, bytes_max: usize) -> Share {
        let mut queue = self.listener.queue();
        let mut lines = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(line) = queue.take()
        {
            if line.text.len() <= SHARED_LINE_MAX {
                bytes += line.text.len();
                lines.push(line);
            }
        }
        Share {
            lines,
            passed: queue.passed_here,
            over: queue.is_over(),
        }
    }

    /// Where the rows of these other processes come in.
    #[must_use]
    pub fn feed(&self, processes: impl IntoIterator<Item = usize>) -> Feed {
        let others = processes.into_iter().map(|index| (index, Other::default()));
        self.listener.queue().others = others.collect();
        Feed(self.listener.clone())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tap.forget(&self.listener);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where rows of other processes come in. Each process sends a share only after it was told that all of its last one has been taken, so
/// what waits is bounded.
#[derive(Debug)]
pub struct Feed(Arc<Listener>);

impl Feed {
    /// Takes what a process has sent.
    pub fn add(&self, process: usize, share: Share) {
        let mut queue = self.0.queue();
        let other = queue.others.entry(process).or_default();
        other.passed = share.passed;
        other.over |= share.over;
        other.lines += share.lines.len();
        other.is_emptied = other.lines == 0;
        let lines = share.lines.into_iter().map(|line| Line {
            from: Some(process),
            ..line
        });
        queue.lines.extend(lines);
        self.0.arrived.notify_all();
    }
}
