//! The service inventory: which services there are, and which series and events belong to each. A file the operator writes; not what the services do.
//!
//! ```yaml
//! services:
//!   - name: awoooi-api          # unique; what the column `service` shows
//!     aliases: [api]            # other names senders use
//!     layer: L1                 # L0 hosts, L1 services, L2 application, L3 AI, L4 business
//!     owner: platform
//!     policy: cautious          # auto (default), or cautious: repairs need an approval
//!     match:                    # a series belongs here if all labels of one entry fit
//!       - job: awoooi-api
//!       - job: "=~awoooi-api-.+"
//!         namespace: "!=staging"
//!     links: { grafana: "https://grafana.example/d/api" }
//!     slos: [api-availability]
//! ```
//!
//! Matchers are `value`, `!=value`, `=~pattern`, `!~pattern`; patterns match the whole value. The first service in the file that fits wins. A series that no entry
//! takes belongs to the service that its label `service`, else `job`, names. Without a file the label's or event's own word is taken.

use crate::error::{Error, Result};
use crate::functions::matchers::Matchers;
use afferent_engine::event::Event;
use afferent_engine::query::{Inventory, LabelInventory};
use afferent_engine::series::Labels;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Services one inventory may have.
pub const SERVICES_MAX: usize = 10_000;
/// Bytes an inventory file may have.
pub const INVENTORY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Label names whose value may be a service's name, in order.
const SERVICE_LABELS: [&str; 2] = ["service", "job"];

/// How a service may be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// By an AI on its own.
    #[default]
    Auto,
    /// Only with a person's approval.
    Cautious,
}

impl Policy {
    /// The word in the relation `services`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cautious => "cautious",
        }
    }
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// Its layer.
    pub layer: Option<String>,
    /// Who owns it.
    pub owner: Option<String>,
    /// How it may be repaired.
    pub policy: Policy,
    /// Where people look further, by tool.
    pub links: BTreeMap<String, String>,
    /// Its objectives.
    pub slos: Vec<String>,
    matchers: Vec<Matchers>,
}

/// The services of one file, or none.
#[derive(Debug, Clone, Default)]
pub struct ServiceInventory {
    services: Vec<Service>,
    by_name: HashMap<String, usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    services: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    layer: Option<Layer>,
    owner: Option<String>,
    #[serde(default)]
    policy: Policy,
    #[serde(default, rename = "match")]
    matchers: Vec<BTreeMap<String, String>>,
    #[serde(default)]
    links: BTreeMap<String, String>,
    #[serde(default)]
    slos: Vec<String>,
}

#[derive(Deserialize)]
enum Layer {
    L0,
    L1,
    L2,
    L3,
    L4,
}

impl Layer {
    fn as_str(&self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::L4 => "L4",
        }
    }
}

impl ServiceInventory {
    /// Reads an inventory; `path` names it in errors.
    ///
    /// # Errors
    /// `Invalid`, with the line for what is not YAML or not a key, else with the service.
    pub fn from_yaml(text: &str, path: &str) -> Result<Self> {
        let wrong = |problem: String| Error::definition(path, problem);
        if text.len() > INVENTORY_BYTES_MAX {
            return Err(wrong(format!("{} bytes: an inventory may have {INVENTORY_BYTES_MAX}", text.len())));
        }
        let file: File = serde_yaml_ng::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if file.services.len() > SERVICES_MAX {
            return Err(wrong(format!("{} services: an inventory may have {SERVICES_MAX}", file.services.len())));
        }
        let mut inventory = Self::default();
        for entry in file.services {
            inventory.add(entry).map_err(wrong)?;
        }
        Ok(inventory)
    }

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        let name = entry.name;
        if name.trim().is_empty() || name.trim() != name {
            return Err(format!("service name {name:?} must not be empty or begin or end with a space"));
        }
        for word in std::iter::once(&name).chain(&entry.aliases) {
            if self.by_name.insert(word.clone(), self.services.len()).is_some() {
                return Err(format!("service {name:?}: the name or alias {word:?} is taken already; each may stand once"));
            }
        }
        for (tool, link) in &entry.links {
            if !link.starts_with("https://") && !link.starts_with("http://") {
                return Err(format!("service {name:?}: link {tool:?} must begin with http:// or https://"));
            }
        }
        let matchers = entry.matchers.iter().map(|labels| match labels.is_empty() {
            true => Err("an entry of match has no labels and would take every series".to_owned()),
            false => Matchers::parse(labels),
        });
        let matchers = matchers.collect::<Result<_, _>>().map_err(|problem| format!("service {name:?}: {problem}"))?;
        self.services.push(Service {
            name: name.into(),
            aliases: entry.aliases,
            layer: entry.layer.map(|l| l.as_str().to_owned()),
            owner: entry.owner,
            policy: entry.policy,
            links: entry.links,
            slos: entry.slos,
            matchers,
        });
        Ok(())
    }

    /// The services in the order of the file.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The service of that name or alias.
    pub fn service(&self, word: &str) -> Option<&Service> {
        self.services.get(*self.by_name.get(word)?)
    }

    fn matching<'a>(&self, get: impl Fn(&str) -> Option<&'a str> + Copy) -> Option<&Service> {
        let fits = |service: &&Service| service.matchers.iter().any(|m| m.accept(get));
        self.services.iter().find(fits).or_else(|| SERVICE_LABELS.iter().find_map(|label| self.service(get(label)?)))
    }
}

impl Inventory for ServiceInventory {
    fn service_of_series(&self, labels: &Labels) -> Option<Arc<str>> {
        if self.services.is_empty() {
            return LabelInventory.service_of_series(labels);
        }
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        self.matching(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)).map(|s| Arc::clone(&s.name))
    }

    fn service_of_event(&self, event: &Event) -> Option<Arc<str>> {
        if let Some(service) = event.service.as_deref().and_then(|word| self.service(word)) {
            return Some(Arc::clone(&service.name));
        }
        if !self.services.is_empty()
            && let Ok(whole) = serde_json::from_str::<serde_json::Value>(&event.attributes)
            && let Some(labels) = whole.get("labels")
            && let Some(service) = self.matching(|name| labels.get(name).and_then(serde_json::Value::as_str))
        {
            return Some(Arc::clone(&service.name));
        }
        // Events are few and name their service on purpose: the sender's own word stays when the inventory does not know it.
        LabelInventory.service_of_event(event)
    }
}

#[cfg(test)]
mod tests;
