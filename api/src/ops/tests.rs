#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn the_process_has_memory_time_and_files() {
    let text = process(1.5);
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
        line.parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1_000_000.0);
    assert!(value("process_resident_memory_max_bytes") >= value("process_resident_memory_bytes"));
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_cpu_seconds_total") < 1e6);
    assert_eq!(value("process_start_time_seconds"), 1.5);
}
