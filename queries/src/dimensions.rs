//! The dimension relations that views join: `services`, `slo_objectives`, `slo_rules`, `model_prices`. Files in, columns out.

use crate::error::{Error, Result};
use crate::inventory::ServiceInventory;
use crate::prices::PriceMap;
use crate::slo::{Objectives, SLO_BYTES_MAX};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use std::path::Path;
use std::sync::Arc;

/// OpenSLO files one folder may have.
pub const SLO_FILES_MAX: usize = 1_000;

/// Everything the operator's files say.
#[derive(Debug, Clone)]
pub struct Dimensions {
    /// Which services there are.
    pub inventory: Arc<ServiceInventory>,
    /// What they promise.
    pub objectives: Objectives,
    /// What models cost.
    pub prices: PriceMap,
    relations: Vec<(String, RecordBatch)>,
}

impl Dimensions {
    /// Reads the files; a path that is not given means no services, no objectives, and the example prices.
    ///
    /// # Errors
    /// `Invalid`, naming file, place and what is wrong.
    pub fn load(inventory: Option<&Path>, slo_folder: Option<&Path>, prices: Option<&Path>) -> Result<Self> {
        let inventory = match inventory {
            Some(path) => ServiceInventory::from_yaml(&read(path)?, &path.display().to_string())?,
            None => ServiceInventory::default(),
        };
        let prices = match prices {
            Some(path) => PriceMap::from_json(&read(path)?, &path.display().to_string())?,
            None => PriceMap::example()?,
        };
        let mut files = Vec::new();
        if let Some(folder) = slo_folder {
            for path in yaml_files(folder)? {
                files.push((path.display().to_string(), read(&path)?));
            }
        }
        let total: usize = files.iter().map(|(_, text)| text.len()).sum();
        if total > SLO_BYTES_MAX {
            return Err(Error::definition("the OpenSLO folder", format!("{total} bytes in all: {SLO_BYTES_MAX} are allowed")));
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        Self::of(inventory, Objectives::from_yaml(&files)?, prices)
    }

    /// Puts parts together and checks that they agree.
    ///
    /// # Errors
    /// `Invalid` where an objective belongs to a service that the inventory does not have.
    pub fn of(inventory: ServiceInventory, objectives: Objectives, prices: PriceMap) -> Result<Self> {
        if !inventory.services().is_empty() {
            for objective in &objectives.objectives {
                if inventory.service(&objective.service).is_none_or(|s| *s.name != *objective.service) {
                    let problem = format!("objective {:?} belongs to service {:?}, which is not in the inventory", objective.slo, objective.service);
                    return Err(Error::definition(objective.file.clone(), problem));
                }
            }
        }
        let parts = [
            ("services", services(&inventory)),
            ("slo_objectives", slo_objectives(&objectives)),
            ("slo_rules", slo_rules(&objectives)),
            ("model_prices", model_prices(&prices)),
        ];
        let mut relations = Vec::with_capacity(parts.len());
        for (name, columns) in parts {
            let rows = RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| Error::Internal(format!("relation {name}: {e}")))?;
            relations.push((name.to_owned(), rows));
        }
        Ok(Self { inventory: Arc::new(inventory), objectives, prices, relations })
    }

    /// The relations `services`, `slo_objectives`, `slo_rules` and `model_prices`, each with its name.
    pub fn relations(&self) -> Vec<(String, RecordBatch)> {
        self.relations.clone()
    }
}

/// Columns with their names and whether they may be null.
type Columns = Vec<(&'static str, ArrayRef, bool)>;

fn services(inventory: &ServiceInventory) -> Columns {
    let all = inventory.services();
    vec![
        required("service", texts(all.iter().map(|s| Some(&*s.name)))),
        optional("layer", texts(all.iter().map(|s| s.layer.as_deref()))),
        optional("owner", texts(all.iter().map(|s| s.owner.as_deref()))),
        required("policy", texts(all.iter().map(|s| Some(s.policy.as_str())))),
        required("links", texts(all.iter().map(|s| Some(json(&s.links))))),
        required("slos", texts(all.iter().map(|s| Some(json(&s.slos))))),
    ]
}

fn slo_objectives(objectives: &Objectives) -> Columns {
    let all = &objectives.objectives;
    vec![
        required("slo", texts(all.iter().map(|o| Some(&o.slo)))),
        required("service", texts(all.iter().map(|o| Some(&o.service)))),
        optional("title", texts(all.iter().map(|o| o.title.as_ref()))),
        required("indicator", texts(all.iter().map(|o| Some(o.indicator.as_str())))),
        required("target_ppm", numbers(all.iter().map(|o| Some(o.target_ppm)))),
        required("period", texts(all.iter().map(|o| Some(o.period.name)))),
        required("period_minutes", numbers(all.iter().map(|o| Some(o.period.minutes)))),
        optional("threshold_s", Arc::new(all.iter().map(|o| o.threshold_s).collect::<Float64Array>())),
        optional("page_quick_milli", numbers(all.iter().map(|o| o.factors.page_quick))),
        optional("page_slow_milli", numbers(all.iter().map(|o| o.factors.page_slow))),
        optional("ticket_quick_milli", numbers(all.iter().map(|o| o.factors.ticket_quick))),
        optional("ticket_slow_milli", numbers(all.iter().map(|o| o.factors.ticket_slow))),
    ]
}

fn slo_rules(objectives: &Objectives) -> Columns {
    let all = &objectives.rules;
    vec![
        required("slo", texts(all.iter().map(|r| Some(&r.slo)))),
        required("role", texts(all.iter().map(|r| Some(r.role.as_str())))),
        required("metric", texts(all.iter().map(|r| Some(&r.metric)))),
        required("matchers", texts(all.iter().map(|r| Some(&r.matchers)))),
        optional("only_service", texts(all.iter().map(|r| r.only_service.as_ref()))),
        optional("threshold_s", Arc::new(all.iter().map(|r| r.threshold_s).collect::<Float64Array>())),
        required("good_given", Arc::new(all.iter().map(|r| Some(r.good_given)).collect::<BooleanArray>())),
        optional("slice_target_ppm", numbers(all.iter().map(|r| r.slice_target_ppm))),
    ]
}

fn model_prices(prices: &PriceMap) -> Columns {
    let all = &prices.prices;
    vec![
        required("provider", texts(all.iter().map(|p| Some(&p.provider)))),
        required("model", texts(all.iter().map(|p| Some(&p.model)))),
        required("input_tokens_above", numbers(all.iter().map(|p| Some(p.input_tokens_above)))),
        required("input_tokens_to", numbers(all.iter().map(|p| Some(p.input_tokens_to)))),
        required("input_pico_usd", numbers(all.iter().map(|p| Some(p.input_pico_usd)))),
        optional("cache_read_pico_usd", numbers(all.iter().map(|p| p.cache_read_pico_usd))),
        optional("cache_write_pico_usd", numbers(all.iter().map(|p| p.cache_write_pico_usd))),
        optional("output_pico_usd", numbers(all.iter().map(|p| p.output_pico_usd))),
        required("price_map_version", texts(all.iter().map(|_| Some(&prices.version)))),
    ]
}

fn required(name: &'static str, column: ArrayRef) -> (&'static str, ArrayRef, bool) {
    (name, column, false)
}

fn optional(name: &'static str, column: ArrayRef) -> (&'static str, ArrayRef, bool) {
    (name, column, true)
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn numbers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Maps and lists of text always have a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Error::definition(path.display().to_string(), format!("cannot be read: {e}")))
}

fn yaml_files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let wrong = |problem: String| Error::definition(folder.display().to_string(), problem);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| wrong(format!("cannot be read: {e}")))? {
        let path = entry.map_err(|e| wrong(format!("cannot be read: {e}")))?.path();
        if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
    if found.len() > SLO_FILES_MAX {
        return Err(wrong(format!("{} OpenSLO files: {SLO_FILES_MAX} are allowed", found.len())));
    }
    // The order of a folder's listing is nobody's choice; names are.
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
