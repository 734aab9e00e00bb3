//! How a run of the engine is interrupted, and how often it looks.

use super::chance::Chance;
use afferent_engine::query::View;
use std::collections::BTreeSet;

/// What happens between two parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The engine looks at everything taken so far.
    Tick,
    /// It is stopped in the middle of whatever it does after so many milliseconds, and started again.
    Halt(u64),
    /// It stops with everything checkpointed, and is started again.
    Stop,
    /// The views that were left out at the start are defined.
    Define,
    /// One of the views (counted round) is computed again from what is stored.
    Backfill(usize),
}

/// How arrivals reach the engine.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) name: &'static str,
    /// What happens after so many arrivals.
    pub(super) parts: Vec<(usize, Then)>,
    /// Deliveries overtake each other on their way from the log.
    pub(super) overtaking: bool,
    /// Milliseconds between checkpoints.
    pub(super) checkpoint_ms: u64,
    /// Bodies are shuffled by up to so many milliseconds.
    pub(super) shuffle_ms: i64,
    /// Partitions over which series are spread.
    pub(super) partitions: u32,
    /// Each partition has an engine of its own, and the views another one.
    pub(super) workers: bool,
    /// Views that are defined in mid-stream, where the parts say so.
    pub(super) late_views: BTreeSet<String>,
    pub(super) seed: u64,
}

impl Schedule {
    /// The plainest one: everything at once.
    pub(super) fn straight(seed: u64) -> Self {
        let late_views = BTreeSet::new();
        Self {
            name: "straight",
            parts: vec![],
            overtaking: false,
            checkpoint_ms: 3_600_000,
            shuffle_ms: 0,
            partitions: 1,
            workers: false,
            late_views,
            seed,
        }
    }

    /// The schedules every stream is run by.
    pub(super) fn all(chance: &mut Chance, arrivals: usize, lateness_ms: i64) -> Vec<Self> {
        let seed = chance.next();
        let places = |chance: &mut Chance, n: i64| {
            let mut at: Vec<usize> = (0..n).map(|_| chance.index(arrivals.max(1))).collect();
            at.sort_unstable();
            at
        };
        let ticks = places(chance, 4).into_iter().map(|at| (at, Then::Tick)).collect();
        let watched = Self { name: "watched", parts: ticks, checkpoint_ms: 10, overtaking: true, ..Self::straight(seed) };
        let stops = places(chance, 3).into_iter().map(|at| (at, if chance.one_in(3) { Then::Tick } else { Then::Stop })).collect();
        let stopped = Self { name: "stopped", parts: stops, ..Self::straight(seed) };
        let halts =
            places(chance, 5).into_iter().map(|at| (at, *chance.pick(&[Then::Halt(0), Then::Halt(3), Then::Halt(15), Then::Halt(30), Then::Tick])));
        let halted = Self { name: "halted", parts: halts.collect(), checkpoint_ms: 10, ..Self::straight(seed) };
        let ticks = places(chance, 2).into_iter().map(|at| (at, *chance.pick(&[Then::Tick, Then::Halt(12)]))).collect();
        let shuffle_ms = *chance.pick(&[5_000, lateness_ms / 2, lateness_ms, lateness_ms * 2]);
        let shuffled = Self { name: "shuffled", parts: ticks, checkpoint_ms: 20, shuffle_ms, ..Self::straight(seed) };
        let mut parts: Vec<(usize, Then)> = places(chance, 1).into_iter().map(|at| (at, Then::Define)).collect();
        let after = |chance: &mut Chance| *chance.pick(&[Then::Tick, Then::Halt(0), Then::Halt(9), Then::Stop]);
        parts.extend(places(chance, 2).into_iter().map(|at| (at, after(chance))));
        parts.extend(places(chance, 2).into_iter().map(|at| (at, Then::Backfill(chance.index(100)))));
        parts.sort_by_key(|(at, _)| *at);
        let defined = Self { name: "defined", parts, checkpoint_ms: 20, ..Self::straight(seed) };
        let workers =
            Self { name: "workers", workers: true, partitions: *chance.pick(&[2, 2, 3, 3, 12]), ..Self::for_workers(chance, arrivals, seed) };
        let interrupted = [watched, stopped, halted, shuffled, defined].map(|s| Self { partitions: *chance.pick(&[1, 4, 12]), ..s });
        [Self::straight(seed)].into_iter().chain(interrupted).chain([workers]).collect()
    }

    /// What may happen to engines that share a stream: any of it, to any of them.
    fn for_workers(chance: &mut Chance, arrivals: usize, seed: u64) -> Self {
        let anything = [Then::Tick, Then::Tick, Then::Halt(0), Then::Halt(9), Then::Halt(25), Then::Stop, Then::Define, Then::Backfill(1)];
        let mut parts: Vec<(usize, Then)> = (0..5).map(|_| (chance.index(arrivals.max(1)), *chance.pick(&anything))).collect();
        parts.sort_by_key(|(at, _)| *at);
        let overtaking = chance.one_in(2);
        let shuffle_ms = *chance.pick(&[0, 5_000, 60_000]);
        Self { parts, checkpoint_ms: *chance.pick(&[10, 40, 3_600_000]), overtaking, shuffle_ms, ..Self::straight(seed) }
    }

    /// The views of the start and those that come later.
    pub(super) fn parted<'v>(&self, views: &'v [View]) -> (Vec<&'v View>, Vec<&'v View>) {
        let come_later = self.parts.iter().any(|(_, then)| *then == Then::Define);
        views.iter().partition(|v| !come_later || !self.late_views.contains(v.spec.name.as_str()))
    }

    /// True where something is computed beside the stream that the end has to wait for.
    pub(super) fn computes_history(&self) -> bool {
        self.parts.iter().any(|(_, then)| matches!(then, Then::Define | Then::Backfill(_)))
    }
}
