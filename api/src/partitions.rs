//! An engine for each partition of the metrics, beside the one of events and views: those of them that run in this process. Not what they say to each
//! other (engine), nor which process has which (storage).

pub(crate) mod reached;
pub(crate) mod serve;

use afferent_engine::intake::{Delivery, Intake};
use afferent_engine::live::Live;
use afferent_engine::log::Topic;
use afferent_engine::parts::OrderBook;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Where a process is asked what a partition says; the number of the partition follows.
pub(crate) const PARTITIONS_PATH: &str = "/internal/v1/partitions";

/// The engines of partitions that run in this process, by partition.
#[derive(Debug, Default)]
pub struct Hosted(RwLock<BTreeMap<u32, Host>>);

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// What readers see of it.
    pub(crate) live: Arc<Live>,
    /// Where it looks for orders.
    pub(crate) orders: Arc<OrderBook>,
    /// Where it takes records.
    pub(crate) intake: Intake,
}

impl Hosted {
    /// An engine was started.
    pub(crate) fn put(&self, partition: u32, host: Host) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(partition, host);
    }

    /// It works no more.
    pub(crate) fn remove(&self, partition: u32) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// The engine of a partition, if it runs here.
    pub(crate) fn get(&self, partition: u32) -> Option<Host> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned()
    }

    /// Hands the records of one request to the engines of this process, events to `views`. Those elsewhere read theirs from the log.
    pub(crate) fn hand_out(&self, deliveries: Vec<Delivery>, views: &Intake) {
        let mut by_log: BTreeMap<_, Vec<Delivery>> = BTreeMap::new();
        for delivery in deliveries {
            by_log.entry(delivery.log).or_default().push(delivery);
        }
        let hosted = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (log, deliveries) in by_log {
            let intake = match log.topic {
                Topic::Events => Some(views),
                Topic::Metrics => hosted.get(&log.partition).map(|host| &host.intake),
            };
            if let Some(intake) = intake {
                intake.offer(deliveries);
            }
        }
    }
}
