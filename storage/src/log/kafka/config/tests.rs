use super::*;

fn of(url: &str) -> Result<KafkaLogConfig, String> {
    let config = KafkaLogConfig::of_url(url).map_err(|e| e.to_string())?;
    config.validate().map_err(|e| e.to_string())?;
    Ok(config)
}

#[test]
fn urls_name_brokers() {
    assert_eq!(of("kafka://kafka-1:9092").unwrap().brokers, ["kafka-1:9092"]);
    assert_eq!(of("kafka://10.0.0.1:9092,[::1]:9093/").unwrap().bootstrap(), "10.0.0.1:9092,[::1]:9093");
    for wrong in ["kafka://", "kafka://a", "kafka://a:", "kafka://a:0", "kafka://a:70000", "kafka://a:1,,b:2", "kafka://a b:1", "kafka://::1:9092"] {
        assert!(of(wrong).unwrap_err().contains("is not HOST:PORT"), "{wrong}");
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let error = of("kafka://user:hunter2@kafka:9092").unwrap_err();
    assert!(error.contains("sasl.password") && !error.contains("hunter2"), "{error}");
}

#[test]
fn each_value_has_its_range() {
    let change = |change: &dyn Fn(&mut KafkaLogConfig)| {
        let mut config = of("kafka://a:1").unwrap();
        change(&mut config);
        config.validate().map_err(|e| e.to_string())
    };
    assert_eq!(change(&|_| ()), Ok(()));
    for (key, result) in [
        ("topic_prefix", change(&|c| c.topic_prefix = "a/b".into())),
        ("topic_prefix", change(&|c| c.topic_prefix.clear())),
        ("topic_prefix", change(&|c| c.topic_prefix = "x".repeat(201))),
        ("replication", change(&|c| c.replication = 16)),
        ("append_wait_ms", change(&|c| c.append_wait = Duration::from_millis(199))),
        ("append_wait_ms", change(&|c| c.append_wait = Duration::from_secs(301))),
        ("url", change(&|c| c.body_bytes_max = BODY_BYTES_LIMIT + 1)),
        ("url", change(&|c| c.brokers.clear())),
    ] {
        let error = result.unwrap_err();
        assert!(error.starts_with(&format!("{key}: ")), "{key}: {error}");
    }
}

#[test]
fn compressions_are_words() {
    for compression in Compression::ALL {
        assert_eq!(Compression::parse(compression.as_str()), Some(compression));
    }
    assert_eq!(Compression::parse("zstd"), None);
}
