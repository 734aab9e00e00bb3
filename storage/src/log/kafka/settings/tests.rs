use super::*;
use crate::log::kafka::cluster::Cluster;
use crate::log::kafka::config::KafkaLogConfig;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn refusal(name: &str, value: &str) -> String {
    settings(&[(name, value)]).validate().unwrap_err().to_string()
}

#[test]
fn what_encrypts_and_authenticates_passes() {
    settings(&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", "u"), ("sasl.password", "p")])
        .validate()
        .unwrap();
}

/// A name on the list that this build of librdkafka does not know would be refused only by those who need it.
#[test]
fn every_allowed_setting_is_known_to_librdkafka() {
    for name in ALLOWED {
        let mut config = ClientConfig::new();
        config.set(name, "\u{1}");
        // Most refuse the value; none may say that there is no such setting.
        if let Err(KafkaError::ClientConfig(_, problem, _, _)) = config.create_native_config() {
            assert!(!problem.contains("No such configuration") && !problem.contains("not supported"), "{name}: {problem}");
        }
    }
    assert!(SECRET.iter().all(|name| ALLOWED.contains(name)));
    assert!(OURS.iter().all(|(name, _)| !ALLOWED.contains(name)));
}

#[test]
fn what_weakens_durability_is_refused_with_the_reason() {
    for (name, _) in OURS {
        let error = refusal(name, "1");
        assert!(error.starts_with(&format!("kafka.{name:?}: is not to be set: ")), "{error}");
    }
    assert!(refusal("acks", "1").contains("all in-sync replicas"));
    let error = refusal("linger.ms", "5");
    assert!(error.contains("is not passed through") && error.contains("sasl.username"), "{error}");
}

#[test]
fn wrong_values_are_named_and_secrets_are_not() {
    assert!(refusal("security.protocol", "TELEPATHY").starts_with("kafka.\"security.protocol\": "));
    let all = settings(&[("sasl.password", "hunter2"), ("ssl.key.pem", "PEM-TEXT"), ("sasl.username", "u")]);
    let shown = format!("{all:?}");
    assert!(shown.contains("\"u\"") && !shown.contains("hunter2") && !shown.contains("PEM-TEXT"), "{shown}");
    assert_eq!(all.masked("login hunter2 failed for PEM-TEXT"), "login ******** failed for ********");
}

/// librdkafka repeats what it cannot read; a key is not to be seen there either.
#[test]
fn a_client_that_cannot_be_made_tells_no_secret() {
    let mut config = KafkaLogConfig::of_url("kafka://127.0.0.1:9").unwrap();
    config.settings = settings(&[("security.protocol", "SSL"), ("ssl.key.pem", "not-a-key-at-all"), ("ssl.key.password", "hunter2")]);
    let error = Cluster::new(config).err().unwrap();
    let text = format!("{error} {error:?}");
    assert!(text.contains("ssl.key.pem") && !text.contains("not-a-key-at-all") && !text.contains("hunter2"), "{text}");
}
