//! The novelty score: "never seen like this". Three channels look at one series, and the loudest speaks. No SQL, and not the deviation score ("far from usual, again").
//!
//! Strictly online, without supervision or settings per series, deterministic: a point is judged by what came before it. Constants count points (panes of a minute,
//! rows of a window), not wall time.
//!
//! # Source
//! The project's own measurements on the Numenta Anomaly Benchmark; its figures stand in the crate's README.

use std::collections::VecDeque;

/// Values remembered by the channel of nearest values.
const SEEN_MAX: usize = 96;
/// Points after which a value that did not come again is forgotten; also what a record spans.
const HORIZON: u64 = 6_000;
/// A value further than this from its neighbours (share of the range seen) is remembered for itself.
const INSERT_MIN: f64 = 0.0125;
/// The least weight of a new point in location and spread.
const LOCATION_WEIGHT_MIN: f64 = 0.0005;
/// Spreads over which the scale of values bends from linear to logarithmic.
const BEND_SPREADS: f64 = 10.0;
/// The least weight of a new point in the profile of the week.
const PROFILE_WEIGHT_MIN: f64 = 0.1;
/// Points of an hour of the week after which it counts as much as twelve days' mean of that hour.
const PROFILE_TRUST: f64 = 12.0;
/// Points before records count, and points of a level.
const LEVEL_POINTS: usize = 24;
/// Weight of the level channel.
const LEVEL_WEIGHT: f64 = 0.7;
/// Past buckets of a record.
const BUCKETS: usize = 8;
/// Points of one bucket.
const BUCKET_POINTS: u64 = HORIZON / BUCKETS as u64;
/// A score is kept only where it exceeds those of this many points before it: the first of a burst speaks.
pub const BURST_POINTS: usize = 24;
/// At most this much of a kept score tires.
const FATIGUE_MAX: f64 = 0.3;
/// Points after which fatigue has halved.
const FATIGUE_HALF_LIFE: f64 = 500.0;
/// Nothing is said before this many points...
const WARM_POINTS: u64 = 500;
/// ... or this much time, whichever comes first.
const WARM_MICROS: i64 = 2 * 86_400_000_000;
/// Version of the saved form.
const STATE_VERSION: u8 = 1;

/// What makes a point new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// No value this close was seen.
    Value,
    /// So far from what is expected for this hour of the week as never before.
    Profile,
    /// A mean of the newest points as never before.
    Level,
}

impl Channel {
    /// Its name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Profile => "profile",
            Self::Level => "level",
        }
    }
}

/// How the first channel looks at values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Variant {
    /// By the distance to the nearest value seen.
    #[default]
    Nearest,
    /// By records only: fewer false alarms, fewer hits.
    Record,
}

/// What one point is found to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Novelty {
    /// 0 is nothing new; 0.02 and more is worth a note.
    pub score: f64,
    /// Which channel found it, where the score is not 0.
    pub channel: Option<Channel>,
    /// What was expected for this hour of the week.
    pub expected: f64,
    /// The least and the greatest value that would have been no record.
    pub usual: Option<(f64, f64)>,
    /// False while too little was seen.
    pub live: bool,
}

/// The least and greatest of a span, and the buckets of the spans before it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Record {
    past: VecDeque<(f64, f64)>,
    current: Option<(f64, f64)>,
    points: u64,
}

impl Record {
    fn range(&self) -> Option<(f64, f64)> {
        self.past.iter().copied().chain(self.current).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// By how much of the whole range a value leaves the range, and takes it in.
    fn step(&mut self, y: f64) -> f64 {
        let known = self.range().filter(|_| self.points >= LEVEL_POINTS as u64);
        let out = match known {
            Some((low, high)) if y > high => (y - high) / (y - low),
            Some((low, high)) if y < low => (low - y) / (high - y),
            _ => 0.0,
        };
        self.current = Some(self.current.map_or((y, y), |(low, high)| (low.min(y), high.max(y))));
        self.points += 1;
        if self.points.is_multiple_of(BUCKET_POINTS) {
            self.past.extend(self.current.take());
            if self.past.len() > BUCKETS {
                self.past.pop_front();
            }
        }
        out
    }
}

/// A mean with the number of points it stands on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Mean {
    count: u32,
    value: f64,
}

impl Mean {
    fn step(&mut self, x: f64) {
        self.count = self.count.saturating_add(1);
        self.value += (x - self.value) * PROFILE_WEIGHT_MIN.max(1.0 / f64::from(self.count));
    }
}

/// What is known of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    variant: Variant,
    points: u64,
    first_at: i64,
    /// Values are held less the first one.
    origin: f64,
    location: f64,
    spread: f64,
    /// Values in ascending order, each with the point at which it was last met.
    seen: Vec<(f64, u64)>,
    value: Record,
    week: Vec<Mean>,
    day: Vec<Mean>,
    profile: Record,
    newest: VecDeque<f64>,
    level: Record,
    burst: VecDeque<f64>,
    fatigue: f64,
    burst_points: usize,
}

impl Memory {
    /// Knows nothing yet.
    pub fn new(variant: Variant, burst_points: usize) -> Self {
        Self {
            variant,
            points: 0,
            first_at: 0,
            origin: 0.0,
            location: 0.0,
            spread: 0.0,
            seen: Vec::new(),
            value: Record::default(),
            week: vec![Mean::default(); 168],
            day: vec![Mean::default(); 24],
            profile: Record::default(),
            newest: VecDeque::new(),
            level: Record::default(),
            burst: VecDeque::new(),
            fatigue: 0.0,
            burst_points,
        }
    }

    /// Judges a point by what came before it, and learns it. `at` is its event time, microseconds; values must be finite.
    pub fn step(&mut self, value: f64, at: i64) -> Novelty {
        if self.points == 0 {
            (self.origin, self.first_at) = (value, at);
        }
        let x = value - self.origin;
        self.points += 1;
        let by_value = match self.variant {
            Variant::Nearest => self.nearest(x),
            Variant::Record => {
                self.locate(x);
                self.value.step(x)
            }
        };
        let (expected, range, by_profile) = self.hour(x, at);
        let by_level = self.mean(x);
        let channels = [(by_value, Channel::Value), (by_profile, Channel::Profile), (by_level, Channel::Level)];
        let (found, channel) = channels.into_iter().reduce(|a, b| if b.0 > a.0 { b } else { a }).unwrap_or((0.0, Channel::Value));
        let first = found > 0.0 && self.burst.iter().all(|z| found > *z);
        self.burst.push_back(found);
        if self.burst.len() > self.burst_points {
            self.burst.pop_front();
        }
        let kept = if first { found } else { 0.0 };
        let tired = self.fatigue;
        self.fatigue = self.fatigue * 0.5_f64.powf(1.0 / FATIGUE_HALF_LIFE) + kept.min(FATIGUE_MAX);
        let live = self.points > WARM_POINTS || at - self.first_at >= WARM_MICROS;
        let score = if live { kept / (1.0 + 2.0 * tired) } else { 0.0 };
        let there = |v: f64| v + self.origin;
        Novelty {
            score,
            channel: (score > 0.0).then_some(channel),
            expected: there(expected),
            usual: range.map(|(low, high)| (there(expected + low), there(expected + high))),
            live,
        }
    }

    fn locate(&mut self, x: f64) {
        let weight = LOCATION_WEIGHT_MIN.max(1.0 / self.points as f64);
        self.location += (x - self.location) * weight;
        self.spread += ((x - self.location).abs() - self.spread) * weight;
    }

    /// The distance to the nearest value seen, as a share of the range seen, on a scale that bends far from the usual.
    fn nearest(&mut self, x: f64) -> f64 {
        self.locate(x);
        let forget = self.points.saturating_sub(HORIZON);
        self.seen.retain(|(_, last)| *last >= forget);
        let (location, bend) = (self.location, BEND_SPREADS * self.spread);
        let scale = |u: f64| if bend > 0.0 { ((u - location) / bend).asinh() } else { 0.0 };
        let place = self.seen.partition_point(|(v, _)| *v <= x);
        let low = place.checked_sub(1).and_then(|i| self.seen.get(i)).map(|s| s.0);
        let high = self.seen.get(place).map(|s| s.0);
        let below = low.map_or(f64::INFINITY, |v| scale(x) - scale(v));
        let above = high.map_or(f64::INFINITY, |v| scale(v) - scale(x));
        let least = self.seen.first().map_or(x, |s| s.0.min(x));
        let most = self.seen.last().map_or(x, |s| s.0.max(x));
        let range = scale(most) - scale(least);
        let out = if range > 0.0 { below.min(above) / range } else { 0.0 };
        if out > INSERT_MIN || self.seen.is_empty() {
            if self.seen.len() == SEEN_MAX
                && let Some(oldest) = (0..self.seen.len()).min_by_key(|i| self.seen.get(*i).map(|s| s.1))
            {
                self.seen.remove(oldest);
            }
            let place = self.seen.partition_point(|(v, _)| *v <= x);
            self.seen.insert(place, (x, self.points));
        } else {
            let nearer = if below <= above { place.saturating_sub(1) } else { place };
            if let Some(seen) = self.seen.get_mut(nearer) {
                seen.1 = self.points;
            }
        }
        out
    }

    /// The distance from what this hour of the week expects: expectation, the range of distances so far, and by how much it is a record.
    fn hour(&mut self, x: f64, at: i64) -> (f64, Option<(f64, f64)>, f64) {
        let hour = usize::try_from(at.div_euclid(3_600_000_000).rem_euclid(168)).unwrap_or(0);
        let (week, day) = (self.week.get(hour).copied().unwrap_or_default(), self.day.get(hour % 24).copied().unwrap_or_default());
        let trust = f64::from(week.count) / (f64::from(week.count) + PROFILE_TRUST);
        let daily = if day.count == 0 { self.location } else { day.value };
        let expected = trust * week.value + (1.0 - trust) * daily;
        let range = self.profile.range();
        let out = self.profile.step(x - expected);
        if let Some(mean) = self.week.get_mut(hour) {
            mean.step(x);
        }
        if let Some(mean) = self.day.get_mut(hour % 24) {
            mean.step(x);
        }
        (expected, range, out)
    }

    fn mean(&mut self, x: f64) -> f64 {
        self.newest.push_back(x);
        if self.newest.len() > LEVEL_POINTS {
            self.newest.pop_front();
        }
        if self.newest.len() < LEVEL_POINTS {
            return 0.0;
        }
        LEVEL_WEIGHT * self.level.step(self.newest.iter().sum::<f64>() / LEVEL_POINTS as f64)
    }
}

/// Saved forms: plain numbers in little-endian order, every list after its length.
impl Memory {
    /// The state as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Out(vec![STATE_VERSION, u8::from(self.variant == Variant::Record)]);
        out.whole(self.points);
        out.whole(self.first_at as u64);
        for number in [self.origin, self.location, self.spread, self.fatigue] {
            out.number(number);
        }
        out.whole(self.seen.len() as u64);
        for (value, last) in &self.seen {
            out.number(*value);
            out.whole(*last);
        }
        for mean in self.week.iter().chain(&self.day) {
            out.whole(u64::from(mean.count));
            out.number(mean.value);
        }
        for record in [&self.value, &self.profile, &self.level] {
            out.whole(record.points);
            out.whole(record.past.len() as u64 * 2 + u64::from(record.current.is_some()));
            for (low, high) in record.past.iter().chain(&record.current) {
                out.number(*low);
                out.number(*high);
            }
        }
        for list in [&self.newest, &self.burst] {
            out.whole(list.len() as u64);
            list.iter().for_each(|v| out.number(*v));
        }
        out.whole(self.burst_points as u64);
        out.0
    }

    /// The state of [`Memory::to_bytes`]; `None` where the bytes are not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(2)?;
        let variant = match head {
            [STATE_VERSION, 0] => Variant::Nearest,
            [STATE_VERSION, 1] => Variant::Record,
            _ => return None,
        };
        let mut from = In(rest);
        let mut memory = Self::new(variant, BURST_POINTS);
        (memory.points, memory.first_at) = (from.whole()?, from.whole()? as i64);
        for place in [&mut memory.origin, &mut memory.location, &mut memory.spread, &mut memory.fatigue] {
            *place = from.number()?;
        }
        memory.seen = (0..from.length(SEEN_MAX)?).map(|_| Some((from.number()?, from.whole()?))).collect::<Option<_>>()?;
        for mean in memory.week.iter_mut().chain(&mut memory.day) {
            *mean = Mean { count: u32::try_from(from.whole()?).ok()?, value: from.number()? };
        }
        for record in [&mut memory.value, &mut memory.profile, &mut memory.level] {
            record.points = from.whole()?;
            let length = from.length(BUCKETS * 2 + 1)?;
            record.past = (0..length / 2).map(|_| Some((from.number()?, from.number()?))).collect::<Option<_>>()?;
            record.current = if length % 2 == 1 { Some((from.number()?, from.number()?)) } else { None };
        }
        memory.newest = (0..from.length(LEVEL_POINTS)?).map(|_| from.number()).collect::<Option<_>>()?;
        memory.burst = (0..from.length(HORIZON as usize)?).map(|_| from.number()).collect::<Option<_>>()?;
        memory.burst_points = from.length(HORIZON as usize)?;
        from.0.is_empty().then_some(memory)
    }
}

struct Out(Vec<u8>);

impl Out {
    fn whole(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn number(&mut self, value: f64) {
        self.whole(value.to_bits());
    }
}

struct In<'a>(&'a [u8]);

impl In<'_> {
    fn whole(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*head))
    }

    fn number(&mut self) -> Option<f64> {
        self.whole().map(f64::from_bits)
    }

    fn length(&mut self, most: usize) -> Option<usize> {
        self.whole().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= most)
    }
}
