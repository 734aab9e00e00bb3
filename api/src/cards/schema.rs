//! JSON Schemas of the cards, generated from their types. Immutable per version: a change that is not additive needs a new one.

use super::autonomy_index::AutonomyIndexData;
use super::envelope::{CARD_VERSION, Card, ENVELOPE};
use super::mttr::MttrData;
use super::service_detail::ServiceDetailData;
use super::slo_dashboard::SloDashboardData;
use super::system_health::SystemHealthData;
use super::types::CardType;
use crate::stats::finops::FinOpsSummary;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// The dialect of every schema.
pub const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Path of a card type's schema.
pub fn path(kind: CardType) -> String {
    format!("/schemas/cards/{kind}/{CARD_VERSION}.json")
}

/// The JSON Schema of a card type.
pub fn of(kind: CardType) -> Value {
    match kind {
        CardType::SystemHealthCard => generate::<SystemHealthData>(kind),
        CardType::ServiceDetailCard => generate::<ServiceDetailData>(kind),
        CardType::SLODashboardCard => generate::<SloDashboardData>(kind),
        CardType::FinOpsCard => generate::<FinOpsSummary>(kind),
        CardType::AutonomyIndexPanel => generate::<AutonomyIndexData>(kind),
        CardType::MTTRCard => generate::<MttrData>(kind),
    }
}

fn generate<D: JsonSchema>(kind: CardType) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Card<D>>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("$schema".to_owned(), json!(DIALECT));
        root.insert("$id".to_owned(), json!(path(kind)));
        root.insert("title".to_owned(), json!(kind.as_str()));
        if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("schema".to_owned(), json!({ "const": ENVELOPE }));
            properties.insert("type".to_owned(), json!({ "const": kind.as_str() }));
            properties.insert("schema_version".to_owned(), json!({ "const": CARD_VERSION }));
        }
    }
    schema
}
