//! Runs steps that compute the past again, one at a time, on the writing runtime's blocking threads; and carries out what is asked of the engine.

use super::Engine;
use crate::control::Command;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metric;
use crate::pipeline::Purpose;
use crate::recompute::{self, Outcome};
use std::time::{Duration, Instant};

/// A step at work.
pub(super) struct Working {
    done: tokio::task::JoinHandle<Result<Outcome>>,
    purpose: Purpose,
    started: Instant,
}

/// What came of a step.
pub(super) struct Worked {
    purpose: Purpose,
    outcome: Result<Outcome>,
    took: Duration,
}

/// An answer that waits until the checkpoint with its effect is published.
pub(super) type Answer = Box<dyn FnOnce(&Result<()>) + Send>;

/// Wait after a step that failed because the lake was away.
const AWAY_WAIT: Duration = Duration::from_secs(1);

/// Resolves when the step at work is done; never, while there is none.
pub(super) async fn worked(working: &mut Option<Working>) -> Worked {
    let Some(work) = working else { return std::future::pending().await };
    let done = (&mut work.done).await;
    let outcome = done.map_err(|e| Error::caused(ErrorKind::Internal, "a background step died", e)).flatten();
    match working.take() {
        Some(work) => Worked { purpose: work.purpose, outcome, took: work.started.elapsed() },
        None => std::future::pending().await,
    }
}

impl Engine {
    /// Starts the next step, if something waits and its share of the machine allows.
    pub(super) async fn work_if_due(&mut self) {
        if self.working.is_some() || Instant::now() < self.rest_until || !self.pipeline.has_background() {
            return;
        }
        let late = self.pipeline.late.len();
        // Late samples come in crowds: a little patience spares many rounds.
        let patient = late > 0
            && late < LATE_CROWD
            && self.last_late_round.is_some_and(|last| last.elapsed() < Duration::from_millis(self.config.repair_interval_ms));
        if patient && !self.pipeline.has_more_than_late() {
            return;
        }
        let Some(stored) = self.stored().await else { return };
        let Some(job) = self.pipeline.next_job(self.clock.now(), &stored) else { return };
        if matches!(job.purpose, Purpose::Late) {
            self.last_late_round = Some(Instant::now());
        }
        let (lake, step) = (job.lake, job.step);
        let done = self.writing.spawn_blocking(move || recompute::run(&lake, &step));
        self.working = Some(Working { done, purpose: job.purpose, started: Instant::now() });
    }

    /// Takes what a step gave, and rests so that live work keeps its share.
    pub(super) async fn take_worked(&mut self, worked: Worked) -> Result<()> {
        metrics::histogram!(Metric::BackgroundSeconds.name()).record(worked.took.as_secs_f64());
        let share = self.config.background_share.clamp(0.01, 1.0);
        self.rest_until = Instant::now() + worked.took.mul_f64((1.0 - share) / share);
        match worked.outcome {
            Ok(outcome) => self.pipeline.take_outcome(worked.purpose, outcome, self.clock.now())?,
            Err(error) => {
                self.rest_until = self.rest_until.max(Instant::now() + AWAY_WAIT);
                self.pipeline.background_failed(worked.purpose, &error);
            }
        }
        self.show(None);
        self.work_if_due().await;
        Ok(())
    }

    /// Carries out a request; its answer waits for the checkpoint.
    pub(super) async fn command(&mut self, command: Command) {
        match command {
            Command::Define(define, tell) => {
                let done = self.pipeline.define(&define, self.compiler.as_ref(), self.clock.now());
                let changed = done.as_ref().is_ok_and(|d| d.changed);
                if changed {
                    self.pipeline.panes.touch_all();
                }
                self.answer(done, changed, tell);
            }
            Command::Drop(name, tell) => {
                let done = self.pipeline.views.drop_view(&name);
                self.pipeline.forget_view(&name);
                let changed = done.is_ok();
                self.answer(done, changed, tell);
            }
            Command::RollBack(name, tell) => {
                let done = self.pipeline.views.roll_back(&name);
                let changed = done.is_ok();
                self.answer(done, changed, tell);
            }
            Command::Backfill(range, tell) => {
                let done = self.pipeline.begin_backfill(&range, self.clock.now());
                let changed = done.is_ok();
                self.answer(done, changed, tell);
            }
            Command::CancelBackfill(id, tell) => {
                let done = self.pipeline.cancel_backfill(id);
                let changed = done.is_ok();
                self.answer(done, changed, tell);
            }
        }
        self.work_if_due().await;
    }

    fn answer<T: Send + 'static>(&mut self, done: Result<T>, changed: bool, tell: tokio::sync::oneshot::Sender<Result<T>>) {
        if !changed {
            // Whoever asked may have gone; then nobody wants to know.
            drop(tell.send(done));
            return;
        }
        self.show(None);
        self.answers.push(Box::new(move |written| {
            let told = match written {
                Ok(()) => done,
                Err(error) => Err(Error::new(error.kind(), format!("it is done, but not durable: {error}"))),
            };
            drop(tell.send(told));
        }));
    }
}

/// Late samples that are repaired at once, however short the last round ago.
const LATE_CROWD: usize = 50_000;
