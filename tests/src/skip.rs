//! What a test does when an outside program is missing: a printed skip on a developer's machine, a failure in CI.

/// Says that a test cannot run here.
///
/// # Panics
/// When `CI=true`: there everything must be installed.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} must run in CI: {reason}");
    eprintln!("skipped {test}: {reason}");
}

/// Seconds that long tests run; `default_s` unless `AFFERENT_SOAK_SECONDS` says otherwise.
pub fn soak_seconds(default_s: u64) -> u64 {
    std::env::var("AFFERENT_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default_s)
}
