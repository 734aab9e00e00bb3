//! What senders know: which samples were acknowledged, and which may or may not have been taken. The truth that tables are compared with.

use std::collections::BTreeMap;

/// A sample's identity: series (by the text of its labels) and milliseconds.
pub type Key = (String, i64);

/// Samples by their identity, values as bits.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    acknowledged: BTreeMap<Key, u64>,
    unknown: BTreeMap<Key, u64>,
}

impl Ledger {
    /// The server said 2xx.
    pub fn acknowledge(&mut self, samples: impl IntoIterator<Item = (Key, f64)>) {
        for (key, value) in samples {
            self.unknown.remove(&key);
            self.acknowledged.insert(key, value.to_bits());
        }
    }

    /// The server did not answer, and nobody will ask again.
    pub fn give_up(&mut self, samples: impl IntoIterator<Item = (Key, f64)>) {
        for (key, value) in samples {
            self.unknown.insert(key, value.to_bits());
        }
    }

    /// Adds what another sender knows.
    pub fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
    }

    /// Samples acknowledged.
    pub fn len(&self) -> usize {
        self.acknowledged.len()
    }

    /// True before the first acknowledgement.
    pub fn is_empty(&self) -> bool {
        self.acknowledged.is_empty()
    }

    /// Every difference from rows that were read back, at most 20 of them: missing, twice, other value, never sent.
    pub fn differences(&self, rows: impl IntoIterator<Item = (Key, f64)>) -> Vec<String> {
        let mut seen: BTreeMap<Key, u64> = BTreeMap::new();
        let mut found = Vec::new();
        for (key, value) in rows {
            let bits = value.to_bits();
            let sent = self.acknowledged.get(&key).or_else(|| self.unknown.get(&key));
            match sent {
                None => found.push(format!("{key:?} was never sent")),
                Some(sent) if *sent != bits => found.push(format!("{key:?} is {value}, sent was {}", f64::from_bits(*sent))),
                Some(_) => {}
            }
            if seen.insert(key.clone(), bits).is_some() {
                found.push(format!("{key:?} stands twice"));
            }
        }
        let missing = self.acknowledged.keys().filter(|key| !seen.contains_key(*key));
        found.extend(missing.map(|key| format!("{key:?} was acknowledged and is missing")));
        let count = found.len();
        found.truncate(20);
        if count > found.len() {
            found.push(format!("and {} more", count - found.len()));
        }
        found
    }
}
