use proptest::prelude::*;

use super::*;
use crate::control::lifecycle::{Action, Policy};

const POLICY: Policy = Policy {
    restart_delay_ms: 1_000,
    restart_delay_max_ms: 60_000,
    stable_after_ms: 300_000,
    stop_patience_ms: 30_000,
};

fn change(phase: Phase) -> Change {
    let back = Back {
        version: 1,
        begun_after: None,
    };
    Change {
        phase,
        ..Change::asked("id".to_owned(), 2, Some(back), ChangeKind::File)
    }
}

fn taking_over(tries: u8) -> Phase {
    Phase::TakingOver {
        tries,
        attempt: 2,
        processes: Vec::new(),
        generation: 7,
    }
}

fn runs() -> Observed {
    Observed {
        alive: 1,
        ready: true,
        ..Observed::default()
    }
}

fn nothing() -> Observed {
    Observed::default()
}

fn ended(exit: Exit) -> Observed {
    Observed {
        ended: Some((exit, "words".to_owned())),
        ..Observed::default()
    }
}

fn life(state: JobState, desired: Desired) -> Lifecycle {
    Lifecycle {
        state,
        desired,
        ..Lifecycle::submitted(0)
    }
}

#[track_caller]
fn check(phase: Phase, state: JobState, old: Observed, new: Observed, expected: Step) {
    let found = change(phase).before(&life(state, Desired::Running), &old, &new);
    assert_eq!(found, expected);
}

#[test]
fn only_a_job_that_answers_is_taken_over_and_only_if_that_makes_sense() {
    let asked = || Phase::Asked { tries: 2 };
    let running = JobState::Running;
    check(asked(), running, runs(), nothing(), Step::TakeOver);
    let silent = Observed {
        ready: false,
        ..runs()
    };
    check(asked(), running, silent.clone(), nothing(), Step::Stop);
    check(asked(), JobState::Created, silent, nothing(), Step::Stop);
    check(
        asked(),
        JobState::Restarting,
        nothing(),
        nothing(),
        Step::Stop,
    );
    let replay = Change {
        kind: ChangeKind::Beginning,
        ..change(asked())
    };
    let step = replay.before(&life(running, Desired::Running), &runs(), &nothing());
    assert_eq!(step, Step::Stop);
}

#[test]
fn who_takes_over_is_the_job_once_the_old_processes_have_ended_however() {
    let state = JobState::Running;
    let check = |tries, old, new, step| check(taking_over(tries), state, old, new, step);
    check(1, runs(), runs(), Step::Wait);
    for exit in [Exit::Stopped, Exit::Failed, Exit::Hopeless] {
        check(1, ended(exit), runs(), Step::Promote);
        // They died as well, or found nobody to take over from.
        check(1, ended(exit), ended(Exit::Failed), Step::Switch);
    }
    check(1, ended(Exit::Finished), runs(), Step::Wait);
    // The old ones go on: it is tried once more, then given up.
    check(1, runs(), ended(Exit::Failed), Step::Again);
    check(
        0,
        runs(),
        ended(Exit::Failed),
        Step::Fail("words".to_owned()),
    );
    let half = Observed {
        alive: 1,
        ..ended(Exit::Failed)
    };
    check(1, runs(), half.clone(), Step::Kill);
    check(1, ended(Exit::Stopped), half, Step::Kill);
}

#[test]
fn a_version_has_started_when_it_has_run_for_a_second() {
    let mut next = life(JobState::Running, Desired::Running);
    next.since_ms = 5_000;
    let after = |now_ms| change(Phase::Starting { tries: 1 }).after(&next, &runs(), now_ms);
    assert_eq!(after(5_999), Step::Wait);
    assert_eq!(after(6_000), Step::Done);
}

#[test]
fn a_version_that_does_not_start_is_tried_again_and_then_left_for_the_one_before() {
    let after = |tries, state, seen: &Observed| {
        let mut next = life(state, Desired::Running);
        next.last_error = Some("words".to_owned());
        change(Phase::Starting { tries }).after(&next, seen, u64::MAX)
    };
    let back = Step::Back("words".to_owned());
    let failed = ended(Exit::Failed);
    assert_eq!(after(1, JobState::Restarting, &failed), Step::Retry);
    assert_eq!(after(0, JobState::Restarting, &failed), back);
    assert_eq!(after(2, JobState::Failed, &ended(Exit::Hopeless)), back);
    assert_eq!(after(0, JobState::Restarting, &nothing()), Step::Wait);
    assert_eq!(after(0, JobState::Running, &runs()), Step::Done);
    assert_eq!(
        after(0, JobState::Finished, &ended(Exit::Finished)),
        Step::Done
    );
    let fresh = Change {
        back: None,
        ..change(Phase::Starting { tries: 0 })
    };
    let mut next = life(JobState::Restarting, Desired::Running);
    next.last_error = Some("words".to_owned());
    let step = fresh.after(&next, &failed, u64::MAX);
    assert_eq!(
        step,
        Step::Fail("words".to_owned()),
        "nothing to go back to"
    );
}

#[test]
fn a_job_that_is_canceled_or_finishes_ends_its_change_but_first_its_processes() {
    for (state, desired) in [
        (JobState::Running, Desired::Canceled),
        (JobState::Finished, Desired::Running),
    ] {
        let life = life(state, desired);
        let change = change(taking_over(1));
        assert_eq!(change.before(&life, &runs(), &runs()), Step::Kill);
        let step = change.before(&life, &runs(), &ended(Exit::Failed));
        assert!(matches!(step, Step::Fail(_)), "{step:?}");
    }
}

/// Processes of one version, as the operating system would show them.
#[derive(Clone, Debug, Default)]
struct World {
    alive: bool,
    ended: Option<Exit>,
}

impl World {
    fn seen(&self) -> Observed {
        Observed {
            alive: usize::from(self.alive),
            ready: self.alive,
            ended: self.ended.map(|exit| (exit, "words".to_owned())),
            over_memory: None,
        }
    }

    fn start(&mut self) {
        *self = Self {
            alive: true,
            ended: None,
        };
    }

    fn end(&mut self, exit: Exit) {
        if self.alive {
            *self = Self {
                alive: false,
                ended: Some(exit),
            };
        }
    }
}

/// What happens in one step.
#[derive(Clone, Debug)]
enum Event {
    Passes(u64),
    OldDies(Exit),
    NewDies(Exit),
    /// The new processes have the old ones stop.
    NewAsks,
    Cancel,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let exit = || {
        prop_oneof![
            Just(Exit::Failed),
            Just(Exit::Finished),
            Just(Exit::Stopped),
            Just(Exit::Hopeless)
        ]
    };
    let event = prop_oneof![
        8 => (1..20_000_u64).prop_map(Event::Passes),
        2 => exit().prop_map(Event::OldDies),
        3 => exit().prop_map(Event::NewDies),
        4 => Just(Event::NewAsks),
        1 => Just(Event::Cancel),
    ];
    proptest::collection::vec(event, 1..40)
}

/// The supervisor in small.
struct Simulation {
    job: Lifecycle,
    change: Option<Change>,
    old: World,
    new: World,
    version: u32,
    now_ms: u64,
}

impl Simulation {
    fn happens(&mut self, event: Event) {
        match event {
            Event::Passes(ms) => self.now_ms += ms,
            Event::OldDies(exit) => self.old.end(exit),
            Event::NewDies(exit) => self.new.end(exit),
            Event::NewAsks if self.new.alive => self.old.end(Exit::Stopped),
            Event::NewAsks => {}
            Event::Cancel => self.job.want(Desired::Canceled, false),
        }
        // What is asked to stop does.
        if self.job.state == JobState::Cancelling {
            self.old.end(Exit::Stopped);
        }
    }

    fn look(&mut self) {
        let (old, new) = (self.old.seen(), self.new.seen());
        if let Some(change) = &self.change {
            let step = change.before(&self.job, &old, &new);
            if step != Step::Wait {
                return self.act(step);
            }
        }
        if self.job.state.is_terminal() {
            return;
        }
        let (next, action) = self.job.next(&old, self.now_ms, &POLICY, 0.0);
        let step = self
            .change
            .as_ref()
            .map(|change| change.after(&next, &old, self.now_ms));
        self.job = next;
        if old.alive == 0 {
            self.old.ended = None;
        }
        match action {
            Action::Start => {
                assert!(!self.new.alive, "two versions run");
                self.old.start();
            }
            Action::Kill => self.old.end(Exit::Failed),
            Action::Wait => {}
        }
        self.act(step.unwrap_or(Step::Wait));
    }

    fn phase(&mut self) -> &mut Phase {
        &mut self.change.as_mut().expect("there is one").phase
    }

    fn now_runs(&mut self, version: u32) {
        self.version = version;
        self.job = self.job.begun_again(self.now_ms);
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Wait => {}
            Step::TakeOver => {
                assert!(self.old.alive && !self.new.alive);
                let Phase::Asked { tries } = *self.phase() else {
                    panic!("{:?}", self.change);
                };
                self.new.start();
                *self.phase() = taking_over(tries - 1);
            }
            Step::Stop => {
                self.job.want(Desired::Suspended, false);
                *self.phase() = Phase::Stopping;
            }
            Step::Kill => self.new.end(Exit::Failed),
            Step::Again => {
                let Phase::TakingOver { tries, .. } = *self.phase() else {
                    panic!("{:?}", self.change);
                };
                self.new = World::default();
                *self.phase() = Phase::Asked { tries };
            }
            Step::Promote | Step::Switch => {
                assert!(!self.old.alive, "two versions run");
                assert_eq!(self.new.alive, step == Step::Promote);
                self.old = std::mem::take(&mut self.new);
                self.now_runs(2);
                *self.phase() = Phase::Starting { tries: TRIES - 1 };
            }
            Step::Retry => {
                let Phase::Starting { tries } = *self.phase() else {
                    panic!("{:?}", self.change);
                };
                self.job = self.job.begun_again(self.now_ms);
                *self.phase() = Phase::Starting { tries: tries - 1 };
            }
            Step::Back(_) => {
                assert!(!self.old.alive, "two versions run");
                self.now_runs(1);
                self.change = None;
            }
            Step::Done | Step::Fail(_) => {
                assert!(!self.new.alive, "processes that nobody knows");
                self.change = None;
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_change_ends_and_one_version_runs(
        events in events(),
        reads_ahead: bool,
    ) {
        let kind = if reads_ahead { ChangeKind::File } else { ChangeKind::Beginning };
        let mut simulation = Simulation {
            job: life(JobState::Running, Desired::Running),
            change: Some(Change { kind, ..change(Phase::Asked { tries: TRIES }) }),
            old: World { alive: true, ended: None },
            new: World::default(),
            version: 1,
            now_ms: 0,
        };
        // In the quiet that follows, those who take over come to their request.
        let quiet = [Event::Passes(POLICY.restart_delay_max_ms * 2), Event::NewAsks];
        let quiet = quiet.into_iter().cycle().take(60);
        for event in events.into_iter().chain(quiet) {
            simulation.happens(event);
            simulation.look();
        }
        prop_assert!(simulation.change.is_none(), "{:?}", simulation.change);
        prop_assert!(!simulation.new.alive);
        let job = &simulation.job;
        prop_assert!(job.state.is_terminal() != simulation.old.alive, "{job:?}");
        if !job.state.is_terminal() {
            prop_assert_eq!(job.desired, Desired::Running, "{:?}", job);
        }
    }
}
