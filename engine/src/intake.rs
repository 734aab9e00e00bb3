//! The hand-over from the receivers to the pipeline: a bounded queue of decoded records with their positions.

use crate::error::{Error, Result};
use crate::log::{Decoded, LogName, Position, Record};
use std::time::Duration;
use tokio::sync::mpsc;

/// A durable record together with what was decoded from it.
#[derive(Debug)]
pub struct Delivery {
    /// Which log it lies in.
    pub log: LogName,
    /// Where.
    pub position: Position,
    /// Headers; the body may be empty, the engine does not read it.
    pub record: Record,
    /// What it holds.
    pub decoded: Decoded,
}

/// The receivers' end. A place is reserved *before* the append, so that what is durable always has room.
#[derive(Debug, Clone)]
pub struct Intake {
    sender: mpsc::Sender<Vec<Delivery>>,
}

/// What the engine takes: the records of one request, one after the other.
pub type Deliveries = mpsc::Receiver<Vec<Delivery>>;

/// A reserved place.
#[derive(Debug)]
pub struct Place(mpsc::OwnedPermit<Vec<Delivery>>);

/// Requests that may wait for the engine.
pub const INTAKE_REQUESTS_MAX: usize = 64;

/// How long a sender waits for a place before it is told to come back.
const PLACE_WAIT: Duration = Duration::from_secs(5);

/// Makes the queue.
pub fn intake() -> (Intake, Deliveries) {
    let (sender, receiver) = mpsc::channel(INTAKE_REQUESTS_MAX);
    (Intake { sender }, receiver)
}

impl Intake {
    /// Waits for a place.
    ///
    /// # Errors
    /// `Unavailable` when the engine is behind or stopping.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken unless a place is returned.
    pub async fn reserve(&self) -> Result<Place> {
        match tokio::time::timeout(PLACE_WAIT, self.sender.clone().reserve_owned()).await {
            Ok(Ok(permit)) => Ok(Place(permit)),
            Ok(Err(_)) => Err(Error::unavailable("the engine is stopping")),
            Err(_) => Err(Error::unavailable("the engine is behind: its intake queue stayed full for 5 s")),
        }
    }

    /// Hands the records of one request over where there is room just now; else the engine finds them in its log.
    pub fn offer(&self, deliveries: Vec<Delivery>) {
        drop(self.sender.try_send(deliveries));
    }
}

impl Place {
    /// Hands a record over. Deliveries may come out of order: the pipeline puts them in order by position.
    pub fn deliver(self, delivery: Delivery) {
        self.deliver_all(vec![delivery]);
    }

    /// Hands the records of one request over.
    pub fn deliver_all(self, deliveries: Vec<Delivery>) {
        self.0.send(deliveries);
    }
}
