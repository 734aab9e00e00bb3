#![allow(clippy::unwrap_used)]

use super::*;

const SLO: &str = r#"apiVersion: openslo/v1
kind: SLO
metadata: { name: a }
spec:
  service: api
  indicator: { metadata: { name: a }, spec: { ratioMetric: { good: { metricSource: { spec: { metric: g } } }, total: { metricSource: { spec: { metric: t } } } } } }
  timeWindow: [{ duration: 30d, isRolling: true }]
  budgetingMethod: Occurrences
  objectives: [{ target: 0.99 }]
"#;

#[test]
fn without_files_there_are_empty_relations_and_example_prices() {
    let dimensions = Dimensions::load(None, None, None).unwrap();
    let sizes: Vec<(String, usize)> = dimensions.relations().into_iter().map(|(name, rows)| (name, rows.num_rows())).collect();
    assert_eq!(sizes[..3], [("services".to_owned(), 0), ("slo_objectives".to_owned(), 0), ("slo_rules".to_owned(), 0)]);
    assert!(sizes[3].0 == "model_prices" && sizes[3].1 > 5);
}

#[test]
fn files_are_read_and_must_agree() {
    let folder = tempfile::tempdir().unwrap();
    let inventory = folder.path().join("inventory.yaml");
    let objectives = folder.path().join("slo");
    std::fs::create_dir(&objectives).unwrap();
    std::fs::write(&inventory, "services: [{ name: api }]").unwrap();
    std::fs::write(objectives.join("a.yaml"), SLO).unwrap();
    std::fs::write(objectives.join("readme.txt"), "not yaml: [").unwrap();
    let dimensions = Dimensions::load(Some(&inventory), Some(&objectives), None).unwrap();
    assert_eq!(dimensions.objectives.objectives.len(), 1);
    assert_eq!(dimensions.relations()[2].1.num_rows(), 2);

    std::fs::write(&inventory, "services: [{ name: web }]").unwrap();
    let message = Dimensions::load(Some(&inventory), Some(&objectives), None).unwrap_err().to_string();
    assert!(message.contains("a.yaml: objective \"a\" belongs to service \"api\", which is not in the inventory"), "{message}");
    let message = Dimensions::load(Some(&folder.path().join("none.yaml")), None, None).unwrap_err().to_string();
    assert!(message.contains("none.yaml: cannot be read"), "{message}");
}
