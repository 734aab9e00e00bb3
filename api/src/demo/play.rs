//! Plays the platform through the server's own HTTP doors: the past faster than real time, in order and with its senders in step, then live.
//! Nothing here reaches around the doors.

use super::capture::Capture;
use super::client::Client;
use super::encode::{Batch, Slot};
use super::story;
use super::traffic::{TARGETS, Traffic};
use afferent_engine::clock::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const MINUTE_MS: i64 = 60_000;

/// Minutes of history of the services with objectives: seven days, so that a seven-day window is covered, and some to begin with.
pub(super) const HISTORY_MIN: i64 = 7 * 24 * 60 + 20;

/// Minutes in one body of the quiet past; less than the lateness, so that no sample of a body can come late.
const QUIET_MIN: i64 = 4;

/// Second of each minute at which the past was scraped.
const SCRAPE_OFFSET_MS: i64 = 30_000;

/// Milliseconds between two scrapes of live play.
const LIVE_STEP_MS: i64 = 5_000;

/// The sender that sees the services, and the one that sees the hosts.
const SENDERS: [&str; 2] = ["prometheus-services", "prometheus-hosts"];

/// Hosts whose node_exporter is played: the first so many of the targets.
const HOST_COUNT: usize = 5;

/// How a part of the play ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Played {
    /// As it should.
    ToTheEnd,
    /// Somebody asked to stop.
    Stopped,
}

/// Everything that was played so far, for the last line of the guide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Samples sent.
    pub(super) samples: usize,
    /// Webhook calls sent.
    pub(super) calls: usize,
}

/// The platform and where its time stands.
pub(super) struct Player {
    client: Client,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    traffic: Traffic,
    services: Batch,
    capture: Capture,
    hosts: Batch,
    host_slots: Vec<Vec<Slot>>,
    /// The minute the demo began: all made-up figures count from here.
    start_ms: i64,
    /// Minutes of full detail before it.
    busy_min: i64,
    /// Calls of [`Traffic::advance`] so far.
    step: i64,
    /// Time of the newest scrape.
    newest_ms: i64,
    tally: Tally,
}

impl Player {
    /// A platform whose present is the minute that runs now.
    pub(super) fn new(client: Client, clock: Arc<dyn Clock>, stop: CancellationToken, busy_min: i64) -> anyhow::Result<Self> {
        let start_ms = clock.now().0.div_euclid(MINUTE_MS) * MINUTE_MS;
        let capture = Capture::load()?;
        let (mut services, mut hosts) = (Batch::default(), Batch::default());
        let traffic = Traffic::new(&mut services)?;
        let mut host_slots = Vec::with_capacity(HOST_COUNT);
        for (_, instance) in TARGETS.into_iter().take(HOST_COUNT) {
            let slots = capture.series.iter().map(|series| {
                let own = series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let labels: Vec<(&str, &str)> = own.chain([("job", "node"), ("instance", instance)]).collect();
                hosts.series(&series.metric, &labels)
            });
            host_slots.push(slots.collect::<anyhow::Result<Vec<_>>>()?);
        }
        let (step, tally) = (0, Tally::default());
        Ok(Self { client, clock, stop, traffic, services, capture, hosts, host_slots, start_ms, busy_min, step, newest_ms: start_ms, tally })
    }

    /// What was sent so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Plays the past up to the present; `progress` hears the share that is done.
    pub(super) fn history(&mut self, progress: &mut dyn FnMut(f64)) -> anyhow::Result<Played> {
        let calls = story::history(self.start_ms, HISTORY_MIN, self.busy_min);
        let mut calls = calls.into_iter().peekable();
        let mut minute = -HISTORY_MIN;
        // The past has an end, but playing it takes a while: the minutes that pass meanwhile belong to it.
        while self.scrape_ms(minute) < self.clock.now().0 {
            if self.stop.is_cancelled() {
                return Ok(Played::Stopped);
            }
            let is_busy = minute >= -self.busy_min;
            let end = if is_busy { minute + 1 } else { (minute + QUIET_MIN).min(-self.busy_min) };
            for minute in minute..end {
                self.scrape(minute, 60.0, self.scrape_ms(minute), is_busy);
            }
            minute = end;
            self.send()?;
            while let Some(call) = calls.next_if(|call| call.at_ms < self.start_ms + minute * MINUTE_MS) {
                self.client.call(call.door, &call.body)?;
                self.tally.calls += 1;
            }
            progress(((minute + HISTORY_MIN) as f64 / HISTORY_MIN as f64).min(1.0));
        }
        Ok(Played::ToTheEnd)
    }

    /// Plays on in real time until `until` says so or a stop is asked for.
    pub(super) fn live(&mut self, mut until: impl FnMut(&Self) -> anyhow::Result<bool>) -> anyhow::Result<Played> {
        let mut previous_s = 0;
        let began_ms = self.clock.now().0;
        loop {
            if until(self)? {
                return Ok(Played::ToTheEnd);
            }
            let next_ms = self.newest_ms + LIVE_STEP_MS;
            while self.clock.now().0 < next_ms {
                if self.stop.is_cancelled() {
                    return Ok(Played::Stopped);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let now_ms = self.clock.now().0;
            let passed_s = (now_ms - self.newest_ms) as f64 / 1000.0;
            self.scrape((now_ms - self.start_ms).div_euclid(MINUTE_MS), passed_s, now_ms, true);
            self.send()?;
            let second = (now_ms - began_ms) / 1000;
            for call in story::live(second, previous_s, now_ms) {
                self.client.call(call.door, &call.body)?;
                self.tally.calls += 1;
            }
            previous_s = second;
        }
    }

    /// When the past was scraped in a minute.
    fn scrape_ms(&self, minute: i64) -> i64 {
        self.start_ms + minute * MINUTE_MS + SCRAPE_OFFSET_MS
    }

    /// Lets time pass and scrapes everything that is scraped by then.
    fn scrape(&mut self, minute: i64, passed_s: f64, time_ms: i64, is_busy: bool) {
        self.traffic.advance(&mut self.services, self.step, minute, passed_s, time_ms, is_busy);
        self.step += 1;
        self.newest_ms = time_ms;
        if is_busy {
            let elapsed_s = (time_ms - self.start_ms) / 1000 + self.busy_min * 60;
            for (host, slots) in self.host_slots.iter().enumerate() {
                for (series, slot) in self.capture.series.iter().zip(slots) {
                    let value = series.value(&self.capture, host, elapsed_s, time_ms as f64 / 1000.0);
                    self.hosts.push(*slot, time_ms, value);
                }
            }
        }
    }

    /// Sends what was scraped, each sender its own body.
    fn send(&mut self) -> anyhow::Result<()> {
        for (sender, batch) in SENDERS.into_iter().zip([&mut self.services, &mut self.hosts]) {
            let count = batch.sample_count();
            if let Some(body) = batch.take_body()? {
                self.client.write(sender, &body)?;
                self.tally.samples += count;
            }
        }
        Ok(())
    }
}
