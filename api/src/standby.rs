//! What a process knows while another one of its group works the log: that it waits, and where readers are answered. Not who decides that (storage).

use std::sync::{PoisonError, RwLock};

/// Whether this process works the log or waits for it.
#[derive(Debug, Default)]
pub struct Standby(RwLock<Role>);

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Role {
    #[default]
    Works,
    Waits {
        works_at: Option<String>,
    },
}

impl Standby {
    /// Another process works the log; it answers at `works_at`, as far as it is known.
    pub fn wait(&self, works_at: Option<String>) {
        self.set(Role::Waits { works_at });
    }

    /// This process works the log.
    pub fn work(&self) {
        self.set(Role::Works);
    }

    /// True while another process works the log.
    pub fn waits(&self) -> bool {
        self.role() != Role::Works
    }

    /// Where readers are answered, while this process waits and knows it.
    pub fn works_at(&self) -> Option<String> {
        match self.role() {
            Role::Works => None,
            Role::Waits { works_at } => works_at,
        }
    }

    fn set(&self, role: Role) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = role;
    }

    fn role(&self) -> Role {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
