#![allow(clippy::unwrap_used)]

use super::*;
use afferent_storage::log::config::EmbeddedLogConfig;
use afferent_storage::log::kafka::config::KafkaLogConfig;

fn read_text(text: &str) -> Result<Config, ConfigError> {
    let mut document = Document::reference()?;
    document.overlay("afferent.toml", text)?;
    Config::validate(&document)
}

fn error_of(text: &str) -> String {
    read_text(text).unwrap_err().to_string()
}

#[test]
fn the_reference_file_is_valid_and_every_key_has_a_line_of_explanation() {
    let config = Config::defaults().unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:9600".parse().unwrap());
    let mut explained = false;
    for line in DEFAULT_TOML.lines() {
        let is_key = line.contains(" = ") && !line.starts_with('#');
        assert!(!is_key || explained, "no comment above: {line}");
        explained = line.starts_with('#');
    }
}

/// The manual states the defaults of the other crates' settings; if they differ, one of them lies.
#[test]
fn defaults_are_those_of_the_crates_they_belong_to() {
    let config = Config::defaults().unwrap();
    assert_eq!(format!("{:?}", config.ingest), format!("{:?}", IngestConfig::default()));
    assert_eq!(config.sql, SqlLimits::default());
    assert_eq!(config.maintain, MaintainConfig::default());
    assert_eq!(config.engine, EngineConfig::default());
    assert_eq!(config.log, LogConfig::Embedded { dir: config.data_dir.join("log"), limits: EmbeddedLogConfig::default(), partitions: 1 });
    let LogConfig::Kafka(kafka) = read_text("[log]\nurl = \"kafka://kafka:9092\"\n").unwrap().log else { panic!("no log on Kafka") };
    assert_eq!(kafka, KafkaLogConfig::of_url("kafka://kafka:9092").unwrap());
}

#[test]
fn a_misspelt_key_is_named_with_file_line_and_the_nearest_known_one() {
    let error = error_of("\n[server]\nlisten = \"127.0.0.1:1\"\n\nconections_max = 5\n");
    assert_eq!(error, "afferent.toml:5: unknown key \"server.conections_max\"; did you mean \"server.connections_max\"?");
    let error = error_of("[serer]\nlisten = \"127.0.0.1:1\"\n");
    assert_eq!(error, "afferent.toml:1: unknown key \"serer\"; did you mean \"server\"?");
    // A right name in a wrong section finds its section.
    let error = error_of("[engine]\nrows_max = 5\n");
    assert!(error.starts_with("afferent.toml:2: unknown key \"engine.rows_max\"; did you mean "), "{error}");
    assert!(error_of("listen = 5\n").contains("server.listen"));
}

#[test]
fn wrong_types_and_values_name_their_place() {
    assert_eq!(error_of("[sql]\nrows_max = \"many\"\n"), "afferent.toml:2: sql.rows_max must be of type integer, found string");
    let error = error_of("[server]\nstop_wait_s = 0\n");
    assert_eq!(error, "afferent.toml:2: server.stop_wait_s: 0 is out of range, it must lie in 1 to 600");
    let error = error_of("[telemetry]\nlog_format = \"xml\"\n");
    assert_eq!(error, "afferent.toml:2: telemetry.log_format: \"xml\" must be one of auto, human, json");
    for (text, key) in [
        ("[sql]\nrows_max = 0\n", "afferent.toml:2: sql.rows_max"),
        ("[sql]\nrows_max = -1\n", "afferent.toml:2: sql.rows_max"),
        ("[ingest]\nbody_bytes_max = 1\n", "afferent.toml:2: ingest.body_bytes_max"),
        ("[engine]\nidle_ms = 5\n", "afferent.toml:2: engine.idle_ms"),
        ("[maintain]\ninterval_s = 0\n", "afferent.toml:2: maintain.interval_s"),
        ("[log]\n\nsegment_bytes = 1\n", "afferent.toml:3: log.segment_bytes"),
        ("[server]\nlisten = \"nowhere\"\n", "afferent.toml:2: server.listen"),
        ("[files]\ninventory = \"no-such-file.yaml\"\n", "afferent.toml:2: files.inventory"),
        ("[ingest.webhook_secrets]\nno-such-hook = \"x\"\n", "afferent.toml:1: ingest.webhook_secrets"),
        ("[server]\nconnection_idle_s = 20\n", "afferent.toml:2: server.connection_idle_s"),
        ("[telemetry]\nlog_level = \"a=b=c\"\n", "afferent.toml:2: telemetry.log_level"),
    ] {
        let error = error_of(text);
        assert!(error.starts_with(key), "{text:?}: {error}");
    }
    let error = error_of("[sql]\nrows_max = = 1\n");
    assert!(error.starts_with("afferent.toml:2: not valid TOML"), "{error}");
}

const KAFKA: &str = "[log]\nurl = \"kafka://kafka-1:9092,kafka-2:9092\"\n";

#[test]
fn a_log_on_kafka_takes_its_settings_in_quotes_or_not() {
    for text in ["\"sasl.password\" = \"hunter2\"\n\"socket.keepalive.enable\" = true", "sasl.password = \"hunter2\"\nsocket.keepalive.enable = true"]
    {
        let config = read_text(&format!("{KAFKA}topic_prefix = \"shop\"\nappend_wait_ms = 500\n[log.kafka]\n{text}\n")).unwrap();
        let LogConfig::Kafka(kafka) = &config.log else { panic!("no log on Kafka") };
        assert_eq!((kafka.brokers.len(), kafka.topic_prefix.as_str(), kafka.append_wait), (2, "shop", Duration::from_millis(500)));
        assert_eq!(kafka.body_bytes_max, config.ingest.body_bytes_max as u64);
        let shown = format!("{config:?}");
        assert!(shown.contains("\"socket.keepalive.enable\": \"true\"") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn wrong_settings_of_a_log_on_kafka_name_their_place() {
    for (text, start) in [
        ("[log]\nurl = \"redis://x\"\n", "afferent.toml:2: log.url: must be \"embedded\" or kafka://"),
        ("[log]\nurl = \"kafka://\"\n", "afferent.toml:2: log.url: \"\" is not HOST:PORT"),
        ("[log]\nurl = \"kafka://u:hunter2@kafka:9092\"\n", "afferent.toml:2: log.url: user and password do not belong there"),
        ("[log]\nreplication = 16\n", "afferent.toml:2: log.replication: 16 is out of range"),
        ("[log]\ntopic_prefix = \"a b\"\n", "afferent.toml:2: log.topic_prefix: "),
        ("[log]\ncompression = \"zstd\"\n", "afferent.toml:2: log.compression: \"zstd\" must be one of none, lz4, snappy"),
        ("[log]\nappend_wait_ms = 1\n", "afferent.toml:2: log.append_wait_ms: 1 is out of range"),
        ("[log.kafka]\nacks = 1\n", "afferent.toml:1: log.kafka: \"acks\" is not to be set: a record is acknowledged by all in-sync replicas"),
        ("[log.kafka]\nsecurity.protocol = \"X\"\n", "afferent.toml:1: log.kafka: \"security.protocol\" "),
    ] {
        let error = error_of(text);
        assert!(error.starts_with(start) && !error.contains("hunter2"), "{text:?}: {error}");
    }
    let error = error_of(&format!("{KAFKA}[ingest]\nbody_bytes_max = 200000000\n"));
    assert!(error.contains("ingest.body_bytes_max, must be at most"), "{error}");
}

#[test]
fn roles_are_shared_by_those_who_share_a_log_and_a_bucket() {
    let shared = "[log]\nurl = \"kafka://a:1\"\n[store]\nurl = \"s3://lake/a\"\n[server]\nroles = ";
    let roles = |text: &str| read_text(&format!("{shared}{text:?}\n")).unwrap().server.roles;
    assert_eq!(roles("work, query"), Roles { intake: false, work: true, query: true });
    assert_eq!(
        (roles("intake"), Config::defaults().unwrap().server.roles),
        (Roles { work: false, query: false, ..Roles::default() }, Roles::default())
    );
    for (text, wrong) in [
        (format!("{shared}\"work,qery\"\n"), "server.roles: \"qery\" is no role; did you mean query?"),
        (format!("{shared}\"\"\n"), "server.roles: \"\" is no role; roles: intake, work, query"),
        (format!("{shared}\"work,work\"\n"), "server.roles: work stands twice"),
        ("[server]\nroles = \"work\"\n".to_owned(), "server.roles: a process shares the roles with others only where log.url is kafka://"),
    ] {
        let error = error_of(&text);
        assert!(error.contains(wrong), "{text:?}: {error}");
    }
}

#[test]
fn a_bucket_is_named_with_how_to_reach_it() {
    let text = "[store]\nurl = \"s3://lake/a/b\"\nendpoint = \"http://minio:9000/\"\nregion = \"eu-1\"\naccess_key_id = \"id\"\nsecret_access_key = \"very\"\n";
    let StorePlace::Bucket(bucket) = read_text(text).unwrap().store else { panic!("a bucket") };
    assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), ("lake", "a/b"));
    assert_eq!((bucket.endpoint.as_deref(), bucket.region.as_deref()), (Some("http://minio:9000"), Some("eu-1")));
    assert_eq!((bucket.keys, bucket.timeout), (Some(("id".to_owned(), "very".to_owned())), Duration::from_secs(10)));
    let StorePlace::Bucket(bucket) = read_text("[store]\nurl = \"s3://lake\"\n").unwrap().store else { panic!("a bucket") };
    assert_eq!((bucket.endpoint, bucket.region, bucket.ca_file, bucket.keys), (None, None, None, None));
    for (more, key) in [
        ("url = \"s3://No Bucket\"", "store.url"),
        ("url = \"gs://lake\"", "store.url"),
        ("url = \"s3://lake\"\nendpoint = \"minio:9000\"", "store.endpoint"),
        ("url = \"s3://lake\"\nendpoint = \"http://id:secret@minio\"", "store.endpoint"),
        ("url = \"s3://lake\"\naccess_key_id = \"id\"", "store.secret_access_key"),
        ("url = \"s3://lake\"\nsecret_access_key = \"x\"", "store.access_key_id"),
        ("url = \"s3://lake\"\nca_file = \"no-such-file.pem\"", "store.ca_file"),
        ("url = \"s3://lake\"\ntimeout_ms = 1", "store.timeout_ms"),
    ] {
        let error = error_of(&format!("[store]\n{more}\n"));
        assert!(error.contains(&format!("{key}: ")), "{more}: {error}");
    }
    assert!(is_secret("store.secret_access_key") && !is_secret("store.access_key_id"));
}

#[test]
fn engines_of_partitions_need_a_log_and_a_store_that_are_shared_and_an_address() {
    let wanted = |listen: &str, log: &str, store: &str| {
        format!("[server]\nlisten = {listen:?}\nengine_per_partition = true\n[log]\nurl = {log:?}\n[store]\nurl = {store:?}\n")
    };
    let (here, everywhere, kafka, bucket) = ("127.0.0.1:9600", "0.0.0.0:9600", "kafka://localhost:9092", "s3://lake");
    assert!(read_text(&wanted(here, kafka, bucket)).unwrap().server.engine_per_partition);
    for (text, wrong) in [
        (wanted(here, "embedded", bucket), "only where log.url is kafka:// and store.url is s3://"),
        (wanted(here, kafka, "folder"), "only where log.url is kafka:// and store.url is s3://"),
        (wanted(everywhere, kafka, bucket), "server.advertise must say"),
    ] {
        let error = error_of(&text);
        assert!(error.contains("server.engine_per_partition: ") && error.contains(wrong), "{text:?}: {error}");
    }
}

#[test]
fn flags_override_the_file_and_are_blamed_by_name() {
    let mut document = Document::reference().unwrap();
    document.overlay("afferent.toml", "[server]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    document.set("server.listen", "--listen", "127.0.0.1:2");
    assert_eq!(Config::validate(&document).unwrap().server.listen.port(), 2);
    document.set("server.listen", "--listen", "x");
    assert!(Config::validate(&document).unwrap_err().to_string().starts_with("--listen: server.listen: "));
}

#[test]
fn log_and_store_lie_under_the_data_folder() {
    let config = read_text("[data]\ndir = \"some/where\"\n").unwrap();
    assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("some/where"));
    assert!(matches!(&config.log, LogConfig::Embedded { dir, .. } if *dir == config.data_dir.join("log")));
    assert!(matches!(&config.store, StorePlace::Folder(folder) if *folder == config.data_dir.join("store")));
    let config = read_text("[store]\nurl = \"else/where\"\n").unwrap();
    assert!(matches!(config.store, StorePlace::Folder(folder) if folder.ends_with("else/where")));
}
