//! The live series of one partition: from the hash of their labels to a dense index, with what must be known once per series. Not their values (panes).

use crate::query::Inventory;
use crate::sample::Metadata;
use crate::series::{LabelError, Labels, METRIC_LABEL, SeriesId, SeriesKey};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// What is known of one live series. Immutable; shared with readers.
#[derive(Debug)]
pub struct SeriesInfo {
    /// Hash of the labels.
    pub key: SeriesKey,
    /// Stored identity.
    pub id: SeriesId,
    /// The labels.
    pub labels: Labels,
    /// Index of its metric in [`Registry::metrics`].
    pub metric: u32,
    /// Its service by the inventory.
    pub service: Option<Arc<str>>,
    /// Index of its target (job, instance) in [`Registry::targets`].
    pub target: u32,
    /// Its first sample's time, milliseconds.
    pub first_seen: i64,
    /// True where it had been evicted before: its first sample now is no birth.
    pub returned: bool,
}

/// Dense index -> series; a free place is `None`.
pub type Directory = Arc<Vec<Option<Arc<SeriesInfo>>>>;

/// A metric and its live series.
#[derive(Debug, Clone)]
pub struct MetricInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Indices of its live series, ascending by time of arrival.
    pub series: Arc<Vec<u32>>,
    /// Every label name its series ever had, `__name__` not among them.
    pub label_names: BTreeSet<String>,
    /// Type, unit and help, where a sender told them.
    pub metadata: Option<Arc<Metadata>>,
}

/// A scraped target: a (job, instance) pair, with its two earliest distinct sample times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Target {
    /// The earliest sample time.
    pub first: i64,
    /// The second earliest, [`i64::MAX`] before it was seen twice.
    pub second: i64,
}

impl Target {
    const UNSEEN: Self = Self { first: i64::MAX, second: i64::MAX };

    /// Takes a sample time; gives the second earliest one before, where that is known now to have been earlier.
    #[inline]
    pub fn observe(&mut self, time: i64) -> Option<i64> {
        if time >= self.second || time == self.first {
            return None;
        }
        let before = self.second;
        if time < self.first {
            (self.first, self.second) = (time, self.first);
        } else {
            self.second = time;
        }
        // Before there were two, nothing of the target is later than what was the first.
        (before != i64::MAX).then_some(before)
    }
}

/// The registry. See the module.
pub struct Registry {
    by_key: HashMap<u128, u32, BuildHasherDefault<FoldedHash>>,
    directory: Directory,
    free: Vec<u32>,
    metrics: Vec<MetricInfo>,
    metric_by_name: HashMap<Arc<str>, u32>,
    targets: Vec<Target>,
    targets_version: u64,
    target_by_name: HashMap<(String, String), u32>,
    evicted: Evicted,
    inventory: Arc<dyn Inventory>,
    series_max: usize,
    generation: u64,
}

/// Ids of evicted series that are remembered so that a return is not taken for a birth; the oldest go first.
pub const EVICTED_MAX: usize = 1_000_000;

#[derive(Debug, Default)]
struct Evicted {
    order: VecDeque<i64>,
    set: HashSet<i64>,
}

/// The keys are hashes already: folding them is enough.
#[derive(Debug, Default, Clone)]
pub struct FoldedHash(u64);

impl Hasher for FoldedHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = (key >> 64) as u64 ^ key as u64;
    }
}

/// Why a series was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The decoder should have refused it.
    #[error("labels: {0}")]
    Labels(#[from] LabelError),
    /// The limit is reached.
    #[error("the limit of {0} live series is reached (engine.series_max)")]
    Full(usize),
}

impl Registry {
    /// An empty registry that holds at most `series_max` live series.
    pub fn new(inventory: Arc<dyn Inventory>, series_max: usize) -> Self {
        Self {
            by_key: HashMap::default(),
            directory: Directory::default(),
            free: vec![],
            metrics: vec![],
            metric_by_name: HashMap::new(),
            targets: vec![],
            targets_version: 0,
            target_by_name: HashMap::new(),
            evicted: Evicted::default(),
            inventory,
            series_max,
            generation: 0,
        }
    }

    /// The index of a known series: one hash look-up.
    #[inline]
    pub fn find(&self, key: SeriesKey) -> Option<u32> {
        self.by_key.get(&key.0).copied()
    }

    /// Registers a series by its canonical labels; `time` is its first sample's.
    ///
    /// # Errors
    /// The labels are bad, or the registry is full.
    pub fn register(&mut self, key: SeriesKey, canonical: &[u8], time: i64) -> Result<u32, RegisterError> {
        if self.by_key.len() >= self.series_max {
            return Err(RegisterError::Full(self.series_max));
        }
        let labels = Labels::from_wire(canonical)?;
        let service = self.inventory.service_of_series(&labels);
        let metric = self.metric_index(labels.metric());
        let target = self.target_index(labels.get("job").unwrap_or_default(), labels.get("instance").unwrap_or_default());
        let id = key.id();
        let info = SeriesInfo { key, id, metric, service, target, first_seen: time, returned: self.evicted.set.contains(&id.0), labels };
        Ok(self.insert(info))
    }

    fn insert(&mut self, info: SeriesInfo) -> u32 {
        let (key, metric) = (info.key, info.metric as usize);
        if let Some(metric) = self.metrics.get_mut(metric) {
            for (name, _) in info.labels.iter().filter(|(n, _)| *n != METRIC_LABEL) {
                if !metric.label_names.contains(name) {
                    metric.label_names.insert(name.to_owned());
                }
            }
        }
        let directory = Arc::make_mut(&mut self.directory);
        let index = match self.free.pop() {
            Some(index) => {
                directory[index as usize] = Some(Arc::new(info));
                index
            }
            None => {
                directory.push(Some(Arc::new(info)));
                (directory.len() - 1) as u32
            }
        };
        if let Some(metric) = self.metrics.get_mut(metric) {
            Arc::make_mut(&mut metric.series).push(index);
        }
        self.by_key.insert(key.0, index);
        self.generation += 1;
        index
    }

    fn metric_index(&mut self, name: &str) -> u32 {
        if let Some(index) = self.metric_by_name.get(name) {
            return *index;
        }
        let name: Arc<str> = name.into();
        let index = self.metrics.len() as u32;
        self.metric_by_name.insert(name.clone(), index);
        self.metrics.push(MetricInfo { name, series: Arc::default(), label_names: BTreeSet::new(), metadata: None });
        index
    }

    fn target_index(&mut self, job: &str, instance: &str) -> u32 {
        let name = (job.to_owned(), instance.to_owned());
        let next = self.targets.len() as u32;
        *self.target_by_name.entry(name).or_insert_with(|| {
            self.targets.push(Target::UNSEEN);
            self.targets_version += 1;
            next
        })
    }

    /// Removes series; each is remembered so that its return is no birth.
    pub fn evict(&mut self, indices: &[u32]) {
        let directory = Arc::make_mut(&mut self.directory);
        let mut touched: BTreeMap<u32, HashSet<u32>> = BTreeMap::new();
        for index in indices {
            let Some(info) = directory.get_mut(*index as usize).and_then(Option::take) else { continue };
            self.by_key.remove(&info.key.0);
            self.free.push(*index);
            touched.entry(info.metric).or_default().insert(*index);
            self.evicted.remember(info.id.0);
        }
        for (metric, gone) in touched {
            if let Some(metric) = self.metrics.get_mut(metric as usize) {
                Arc::make_mut(&mut metric.series).retain(|index| !gone.contains(index));
            }
        }
        self.generation += u64::from(!indices.is_empty());
    }

    /// Takes metadata of a metric; true where it is news.
    pub fn describe(&mut self, metadata: Metadata) -> bool {
        // Metadata names the family; its series may carry suffixes, and each is told.
        let mut changed = false;
        let shared = Arc::new(metadata);
        for suffix in ["", "_total", "_bucket", "_count", "_sum"] {
            let name = format!("{}{suffix}", shared.metric);
            if let Some(metric) = self.metric_by_name.get(name.as_str()).and_then(|i| self.metrics.get_mut(*i as usize))
                && metric.metadata.as_deref() != Some(&*shared)
            {
                metric.metadata = Some(shared.clone());
                changed = true;
            }
        }
        self.generation += u64::from(changed);
        changed
    }

    /// What is known of a series.
    #[inline]
    pub fn info(&self, index: u32) -> Option<&Arc<SeriesInfo>> {
        self.directory.get(index as usize)?.as_ref()
    }

    /// The directory as readers may keep it.
    pub fn directory(&self) -> Directory {
        self.directory.clone()
    }

    /// Every metric, by index.
    pub fn metrics(&self) -> &[MetricInfo] {
        &self.metrics
    }

    /// How many metrics and how many label names they have: what there is of either is never taken away.
    pub fn names_count(&self) -> (usize, usize) {
        (self.metrics.len(), self.metrics.iter().map(|m| m.label_names.len()).sum())
    }

    /// Puts back a metric whose series may be gone, as a checkpoint kept it: its rows can still be read.
    pub fn restore_metric(&mut self, name: &str, label_names: BTreeSet<String>) {
        let index = self.metric_index(name) as usize;
        if let Some(metric) = self.metrics.get_mut(index) {
            metric.label_names.extend(label_names);
        }
    }

    /// The index of a metric.
    pub fn metric_named(&self, name: &str) -> Option<u32> {
        self.metric_by_name.get(name).copied()
    }

    /// Every target, by index.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Grows with every change of a target.
    pub fn targets_version(&self) -> u64 {
        self.targets_version
    }

    /// See [`Target::observe`].
    #[inline]
    pub fn observe(&mut self, target: u32, time: i64) -> Option<i64> {
        let target = self.targets.get_mut(target as usize)?;
        let known = *target;
        let before = target.observe(time);
        self.targets_version += u64::from(*target != known);
        before
    }

    /// Takes what another partition knows of a target, which may have no series here yet; gives its index and what [`Self::observe`] does.
    pub fn observe_elsewhere(&mut self, job: &str, instance: &str, other: Target) -> (u32, Option<i64>) {
        let index = self.target_index(job, instance);
        let before = [other.first, other.second].into_iter().filter_map(|time| self.observe(index, time)).max();
        (index, before)
    }

    /// Names of the targets with their indices.
    pub fn target_names(&self) -> impl Iterator<Item = (&(String, String), u32)> {
        self.target_by_name.iter().map(|(name, index)| (name, *index))
    }

    /// Puts a target back as a checkpoint kept it.
    pub fn restore_target(&mut self, job: &str, instance: &str, target: Target) {
        self.targets_version += 1;
        let index = self.target_index(job, instance);
        if let Some(slot) = self.targets.get_mut(index as usize) {
            *slot = target;
        }
    }

    /// Ids of evicted series, oldest first.
    pub fn evicted(&self) -> impl Iterator<Item = i64> {
        self.evicted.order.iter().copied()
    }

    /// Puts back the id of an evicted series.
    pub fn restore_evicted(&mut self, id: i64) {
        self.evicted.remember(id);
    }

    /// Counts changes of the set of series and labels, so that caches know when they are stale.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Live series.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True before the first series.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl Evicted {
    fn remember(&mut self, id: i64) {
        if self.set.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > EVICTED_MAX
            && let Some(old) = self.order.pop_front()
        {
            self.set.remove(&old);
        }
    }
}

#[cfg(test)]
mod tests;
