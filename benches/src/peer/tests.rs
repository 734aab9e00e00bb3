use super::*;

#[test]
fn a_page_is_summed_over_labels_of_exactly_that_name() {
    let page = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3.5\na_total 100\nb 7\n";
    assert_eq!((metric(page, "a"), metric(page, "b"), metric(page, "c")), (Some(5.5), Some(7.0), None));
}

#[test]
fn this_process_uses_cpu_and_memory() {
    let pid = std::process::id();
    assert!(cpu_seconds(pid).expect("own figures") >= 0.0);
    let (now, peak) = memory_bytes(pid).expect("own figures");
    assert!(peak >= now && now > 0);
    assert!(cpu_seconds(u32::MAX).is_err());
}

#[test]
fn the_base_of_a_url_ends_before_its_path() {
    assert_eq!(base_url("http://127.0.0.1:9600/api/v1/write"), "http://127.0.0.1:9600");
    assert_eq!(base_url("http://127.0.0.1:9600"), "http://127.0.0.1:9600");
}
