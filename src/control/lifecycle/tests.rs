use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy {
    restart_delay_ms: 1_000,
    restart_delay_max_ms: 60_000,
    stable_after_ms: 300_000,
    stop_patience_ms: 30_000,
};

fn seen(alive: usize, ready: bool) -> Observed {
    Observed {
        alive,
        ready,
        ..Observed::default()
    }
}

fn ended(exit: Exit) -> Observed {
    Observed {
        ended: Some((exit, "last words".to_owned())),
        ..Observed::default()
    }
}

/// Goes through observations, one per millisecond, and returns the states and steps.
fn go(desired: Desired, observations: &[Observed]) -> Vec<(JobState, Action)> {
    let mut lifecycle = Lifecycle::submitted(0);
    lifecycle.want(desired, false);
    let mut steps = Vec::new();
    for (now_ms, seen) in observations.iter().enumerate() {
        let (next, action) = lifecycle.next(seen, now_ms as u64, &POLICY, 0.0);
        steps.push((next.state, action));
        lifecycle = next;
    }
    steps
}

#[test]
fn a_job_starts_runs_and_finishes() {
    let steps = go(
        Desired::Running,
        &[
            seen(0, false),
            seen(1, false),
            seen(1, true),
            ended(Exit::Finished),
            seen(0, false),
        ],
    );
    assert_eq!(
        steps,
        [
            (JobState::Created, Action::Start),
            (JobState::Created, Action::Wait),
            (JobState::Running, Action::Wait),
            (JobState::Finished, Action::Wait),
            (JobState::Finished, Action::Wait),
        ]
    );
}

#[test]
fn how_a_job_ends_depends_on_what_is_wanted_and_how_it_ended() {
    use Desired::{Canceled, Drained, Running, Suspended};
    for (desired, exit, state) in [
        (Running, Exit::Finished, JobState::Finished),
        (Running, Exit::Stopped, JobState::Restarting),
        (Running, Exit::Failed, JobState::Restarting),
        (Running, Exit::Hopeless, JobState::Failed),
        (Drained, Exit::Finished, JobState::Finished),
        (Drained, Exit::Stopped, JobState::Restarting),
        (Drained, Exit::Failed, JobState::Restarting),
        (Suspended, Exit::Finished, JobState::Finished),
        (Suspended, Exit::Stopped, JobState::Suspended),
        (Suspended, Exit::Failed, JobState::Suspended),
        (Suspended, Exit::Hopeless, JobState::Suspended),
        (Canceled, Exit::Finished, JobState::Finished),
        (Canceled, Exit::Stopped, JobState::Canceled),
        (Canceled, Exit::Failed, JobState::Canceled),
        (Canceled, Exit::Hopeless, JobState::Canceled),
    ] {
        let steps = go(desired, &[ended(exit)]);
        assert_eq!(steps, [(state, Action::Wait)], "{desired:?} {exit:?}");
    }
}

#[test]
fn a_stop_is_enforced_when_patience_is_over() {
    let mut lifecycle = Lifecycle::submitted(0);
    lifecycle = lifecycle.next(&seen(1, true), 0, &POLICY, 0.0).0;
    lifecycle.want(Desired::Suspended, false);
    let (lifecycle, action) = lifecycle.next(&seen(1, true), 10, &POLICY, 0.0);
    assert_eq!(
        (lifecycle.state, action),
        (JobState::Cancelling, Action::Wait)
    );
    let over = 10 + POLICY.stop_patience_ms;
    for (now_ms, expected) in [(over - 1, Action::Wait), (over, Action::Kill)] {
        let (next, action) = lifecycle.next(&seen(1, false), now_ms, &POLICY, 0.0);
        assert_eq!((next.state, action), (JobState::Cancelling, expected));
    }
}

#[test]
fn a_job_that_cannot_answer_yet_is_not_waited_for() {
    let mut lifecycle = Lifecycle::submitted(0);
    lifecycle.want(Desired::Canceled, false);
    let (lifecycle, action) = lifecycle.next(&seen(1, false), 1, &POLICY, 0.0);
    assert_eq!(action, Action::Kill);
    let (lifecycle, _) = lifecycle.next(&ended(Exit::Failed), 2, &POLICY, 0.0);
    assert_eq!(lifecycle.state, JobState::Canceled);
}

#[test]
fn who_insists_on_a_good_end_gets_one_or_the_job_goes_on() {
    let mut lifecycle = Lifecycle::submitted(0);
    lifecycle.want(Desired::Suspended, true);
    let mut go = |seen: Observed, now_ms: u64| {
        let (next, action) = lifecycle.next(&seen, now_ms, &POLICY, 0.0);
        lifecycle = next;
        (lifecycle.state, action)
    };
    assert_eq!(go(seen(0, false), 0), (JobState::Created, Action::Start));
    assert_eq!(go(seen(1, false), 1), (JobState::Created, Action::Wait));
    // From here on it is asked at its socket, and nothing kills it.
    let late = POLICY.stop_patience_ms * 10;
    assert_eq!(go(seen(1, true), 2), (JobState::Cancelling, Action::Wait));
    assert_eq!(
        go(seen(1, true), late),
        (JobState::Cancelling, Action::Wait)
    );
    assert_eq!(go(ended(Exit::Failed), late).0, JobState::Restarting);
    let later = late + POLICY.restart_delay_ms;
    assert_eq!(
        go(seen(0, false), later),
        (JobState::Restarting, Action::Start)
    );
    assert_eq!(go(seen(1, true), later).0, JobState::Cancelling);
    assert_eq!(go(ended(Exit::Stopped), later).0, JobState::Suspended);
}

#[test]
fn delays_double_up_to_the_longest_and_a_quiet_time_forgets_failures() {
    let mut lifecycle = Lifecycle::submitted(0);
    let mut now_ms = 0;
    let mut delays = Vec::new();
    for _ in 0..9 {
        lifecycle = lifecycle.next(&seen(1, true), now_ms, &POLICY, 0.0).0;
        lifecycle = lifecycle.next(&ended(Exit::Failed), now_ms, &POLICY, 0.0).0;
        delays.push((lifecycle.start_at_ms - now_ms) / 1_000);
        now_ms = lifecycle.start_at_ms;
    }
    assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert!(lifecycle.is_crash_looping());
    assert_eq!(lifecycle.restarts, 9);
    assert_eq!(lifecycle.last_error.as_deref(), Some("last words"));
    lifecycle = lifecycle.next(&seen(1, true), now_ms, &POLICY, 0.0).0;
    let later = now_ms + POLICY.stable_after_ms;
    assert!(lifecycle.is_crash_looping(), "it has only just started");
    lifecycle = lifecycle.next(&seen(1, true), later, &POLICY, 0.0).0;
    assert!(!lifecycle.is_crash_looping());
}

#[test]
fn when_one_process_of_several_fails_the_others_are_ended_and_all_start_again() {
    let mut partly = seen(1, false);
    partly.ended = ended(Exit::Failed).ended;
    let steps = go(
        Desired::Running,
        &[seen(2, true), partly.clone(), partly, ended(Exit::Failed)],
    );
    assert_eq!(
        steps,
        [
            (JobState::Running, Action::Wait),
            (JobState::Failing, Action::Kill),
            (JobState::Failing, Action::Kill),
            (JobState::Restarting, Action::Wait),
        ]
    );
}

#[test]
fn too_much_memory_is_the_error_that_is_shown_not_the_kill_that_follows() {
    let mut lifecycle = Lifecycle::submitted(0);
    let mut fat = seen(1, true);
    fat.over_memory = Some("3 GiB of 2 GiB".to_owned());
    let (next, action) = lifecycle.next(&fat, 1, &POLICY, 0.0);
    assert_eq!((next.state, action), (JobState::Failing, Action::Kill));
    lifecycle = next.next(&ended(Exit::Failed), 2, &POLICY, 0.0).0;
    assert_eq!(lifecycle.state, JobState::Restarting);
    assert_eq!(lifecycle.last_error.as_deref(), Some("3 GiB of 2 GiB"));
}

/// A process as the operating system would show it.
#[derive(Clone, Debug, Default)]
struct World {
    alive: bool,
    asked: bool,
    ended: Option<Exit>,
}

/// What happens to it, or is wanted, in one step.
#[derive(Clone, Debug)]
enum Event {
    Passes(u64),
    Dies(Exit),
    Obeys,
    Want(Desired, bool),
    Swells,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let exit = prop_oneof![
        Just(Exit::Failed),
        Just(Exit::Finished),
        Just(Exit::Stopped),
        Just(Exit::Hopeless)
    ];
    let event = prop_oneof![
        8 => (1..20_000_u64).prop_map(Event::Passes),
        4 => exit.prop_map(Event::Dies),
        2 => Just(Event::Obeys),
        1 => prop_oneof![
            Just((Desired::Suspended, false)),
            Just((Desired::Suspended, true)),
            Just((Desired::Drained, true)),
            Just((Desired::Canceled, false)),
        ].prop_map(|(desired, insist)| Event::Want(desired, insist)),
        1 => Just(Event::Swells),
    ];
    proptest::collection::vec(event, 1..60)
}

/// States that may follow one another.
fn may_follow(from: JobState, to: JobState) -> bool {
    use JobState::{
        Canceled, Cancelling, Created, Failed, Failing, Finished, Restarting, Running, Suspended,
    };
    from == to
        || match from {
            Created | Restarting => to != Created,
            Running => to != Created,
            Failing => matches!(to, Restarting | Failed | Canceled | Suspended | Finished),
            Cancelling => !matches!(to, Created | Running),
            Failed | Canceled | Finished | Suspended => false,
        }
}

proptest! {
    #[test]
    fn whatever_happens_no_job_runs_twice_and_every_wish_comes_true(
        events in events(),
        jitter in 0.0..1.0_f64,
    ) {
        let mut lifecycle = Lifecycle::submitted(0);
        let mut world = World::default();
        let mut now_ms = 0;
        // After the events the world is quiet, so that every wish has the time to come true.
        let quiet = std::iter::repeat_n(Event::Passes(POLICY.stop_patience_ms), 12);
        for event in events.into_iter().chain(quiet) {
            let mut over_memory = None;
            match event {
                Event::Passes(ms) => now_ms += ms,
                Event::Dies(exit) if world.alive => {
                    world = World { ended: Some(exit), ..World::default() };
                }
                Event::Obeys if world.alive && world.asked => {
                    world = World { ended: Some(Exit::Stopped), ..World::default() };
                }
                Event::Want(desired, insist) => lifecycle.want(desired, insist),
                Event::Swells if world.alive => over_memory = Some("too fat".to_owned()),
                _ => {}
            }
            let seen = Observed {
                alive: usize::from(world.alive),
                ready: world.alive,
                ended: world.ended.map(|exit| (exit, "words".to_owned())),
                over_memory,
            };
            let (next, action) = lifecycle.next(&seen, now_ms, &POLICY, jitter);
            prop_assert!(may_follow(lifecycle.state, next.state), "{lifecycle:?} -> {next:?}");
            prop_assert!(next.since_ms <= now_ms);
            prop_assert!(next.start_at_ms <= now_ms + POLICY.restart_delay_max_ms * 5 / 4);
            match action {
                Action::Start => {
                    prop_assert!(!world.alive, "started twice");
                    prop_assert!(next.desired == Desired::Running || next.insist);
                    world = World { alive: true, ..World::default() };
                }
                Action::Kill => {
                    prop_assert!(world.alive);
                    let cause = next.state == JobState::Failing || !next.insist;
                    prop_assert!(cause, "killed although only a good end will do");
                    world = World { ended: Some(Exit::Failed), ..World::default() };
                }
                Action::Wait => {}
            }
            // In this state the supervisor asks at the socket.
            if next.state == JobState::Cancelling {
                prop_assert!(next.desired != Desired::Running);
                world.asked = true;
            }
            if world.ended.is_some() && seen.ended.is_some() {
                // The end is told once.
                world.ended = None;
            }
            lifecycle = next;
        }
        match lifecycle.desired {
            _ if lifecycle.desired == Desired::Running || lifecycle.insist => prop_assert!(
                lifecycle.state.is_terminal() || world.alive,
                "neither over nor alive: {:?}", lifecycle
            ),
            _ => prop_assert!(lifecycle.state.is_terminal() && !world.alive, "{:?}", lifecycle),
        }
    }
}
