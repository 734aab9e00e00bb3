use super::*;

#[test]
fn removed_files_do_not_count() {
    let folder = std::env::temp_dir().join(format!("afferent-disk-{}", std::process::id()));
    let log = folder.join("samples").join("_delta_log");
    fs::create_dir_all(&log).expect("created");
    fs::write(log.join("00000000000000000000.json"), "{\"add\":{\"path\":\"a\",\"size\":10}}\n{\"add\":{\"path\":\"b\",\"size\":5}}\n")
        .expect("written");
    fs::write(log.join("00000000000000000001.json"), "{\"remove\":{\"path\":\"a\"}}\n{\"add\":{\"path\":\"c\",\"size\":7}}\n").expect("written");
    let found = table_bytes(&folder, &["samples", "series"]).expect("read");
    assert!(folder_bytes(&folder).expect("read") > 100);
    fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(found, BTreeMap::from([("samples".to_owned(), (12, 2))]));
}
