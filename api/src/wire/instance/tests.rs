use super::*;
use crate::config::Document;

#[test]
fn a_name_is_kept_over_restarts_and_is_one_process_s_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = |more: &str| {
        let mut document = Document::reference().unwrap();
        let text = format!("[data]\ndir = {:?}\n{more}", folder.path().join("data").display().to_string());
        document.overlay("test.toml", &text).unwrap();
        Config::validate(&document).unwrap()
    };
    let kafka = "[log]\nurl = \"kafka://127.0.0.1:9092\"\n[store]\nurl = \"s3://bucket/here\"\n";
    assert!(Instance::take(&config("")).unwrap().is_none(), "the embedded log has a lock of its own");
    assert!(Instance::take(&config(&format!("{kafka}[server]\nroles = \"intake,query\"\n"))).unwrap().is_none());

    let first = Instance::take(&config(kafka)).unwrap().unwrap();
    let refused = Instance::take(&config(kafka)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("another process has the folder") && refused.to_string().contains("data.dir"), "{refused}");
    let name = first.name.clone();
    drop(first);
    assert_eq!(Instance::take(&config(kafka)).unwrap().unwrap().name, name);
    assert_eq!(name.len(), 16);
}
