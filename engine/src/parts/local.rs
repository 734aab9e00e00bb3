//! Partitions whose engines run in this process.

use super::{Order, OrderBook, Partitions, Parts};
use crate::error::{Error, Result};
use crate::live::{Live, ReadView};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long files may be changing before whoever asks has to come back.
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// One of them.
#[derive(Debug, Clone)]
pub struct LocalPartition {
    /// Its number.
    pub partition: u32,
    /// What readers see of it. All share one lock, see [`Live::beside`].
    pub live: Arc<Live>,
    /// Where it looks for orders.
    pub orders: Arc<OrderBook>,
}

/// See the module.
#[derive(Debug)]
pub struct LocalPartitions(pub Vec<LocalPartition>);

#[async_trait]
impl Partitions for LocalPartitions {
    fn tell(&self, order: Arc<Order>) {
        self.0.iter().for_each(|p| p.orders.put(order.clone()));
    }

    fn reports(&self) -> BTreeMap<u32, Option<Arc<Parts>>> {
        let said = |p: &LocalPartition| {
            let view = p.live.view();
            view.parts.clone().filter(|_| view.status.recovered)
        };
        self.0.iter().map(|p| (p.partition, said(p))).collect()
    }

    async fn tables(&self) -> Result<Arc<ReadView>> {
        let Some(first) = self.0.first() else { return Ok(Arc::default()) };
        // While this is held nobody swaps rows in memory for files, so what one of them published is not in another one's memory.
        // Not for long: the epoch of whoever asks may hold it until it is looked at.
        let locked = tokio::time::timeout(LOCK_WAIT, first.live.commit.clone().lock_owned()).await;
        let guard = locked.map_err(|_| Error::unavailable("files are being published"))?;
        let views: Vec<Arc<ReadView>> = self.0.iter().map(|p| p.live.view()).collect();
        drop(guard);
        if let Some((partition, _)) = self.0.iter().zip(&views).find(|(_, view)| !view.status.recovered) {
            return Err(Error::unavailable(format!("partition {} is being recovered", partition.partition)));
        }
        Ok(Arc::new(ReadView::of_partitions(&views)))
    }
}
