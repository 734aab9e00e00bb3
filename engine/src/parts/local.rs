//! Partitions whose engines run in this process.

use super::{Order, OrderBook, Partitions, Parts};
use crate::error::{Error, Result};
use crate::live::{Live, ReadView};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One of them.
#[derive(Debug, Clone)]
pub struct LocalPartition {
    /// Its number.
    pub partition: u32,
    /// What readers see of it.
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
        let views: Vec<Arc<ReadView>> = self.0.iter().map(|p| p.live.view()).collect();
        if let Some((partition, _)) = self.0.iter().zip(&views).find(|(_, view)| !view.status.recovered) {
            return Err(Error::unavailable(format!("partition {} is being recovered", partition.partition)));
        }
        Ok(Arc::new(ReadView::of_partitions(&views)))
    }
}
