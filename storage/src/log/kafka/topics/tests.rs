use super::*;
use crate::log::kafka::settings::Settings;

const BYTES: u64 = 1000;

fn found(partitions: usize, replicas: usize, changes: &[(&str, &str)]) -> Found {
    let in_sync = in_sync_wanted(replicas).to_string();
    let right = [
        ("min.insync.replicas", in_sync.as_str()),
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("unclean.leader.election.enable", "false"),
        ("max.message.bytes", "1000"),
    ];
    let settings = right.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Found { partitions, replicas, settings }
}

#[test]
fn replicas_follow_the_cluster_unless_they_are_configured() {
    let by_cluster: Vec<_> = (1..6).map(|brokers| replicas_wanted(0, brokers)).collect();
    assert_eq!(by_cluster, [1, 1, 3, 3, 3]);
    assert_eq!([replicas_wanted(1, 5), replicas_wanted(2, 1), replicas_wanted(5, 3)], [1, 2, 5]);
}

#[test]
fn topics_as_they_are_made_have_no_problem() {
    for replicas in [1, 2, 3, 5] {
        assert_eq!(problems(&found(1, replicas, &[]), 1, replicas, BYTES), []);
    }
    // More than what is needed is fine.
    assert_eq!(problems(&found(1, 3, &[("max.message.bytes", "5000"), ("min.insync.replicas", "3")]), 0, 1, BYTES), []);
    assert_eq!(problems(&found(12, 3, &[]), 0, 3, BYTES), [], "as many as there are");
}

#[test]
fn whatever_could_lose_or_refuse_records_is_a_problem() {
    for (name, value) in [
        ("min.insync.replicas", "1"),
        ("min.insync.replicas", "4"),
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1073741824"),
        ("unclean.leader.election.enable", "true"),
        ("max.message.bytes", "999"),
        ("max.message.bytes", ""),
    ] {
        let problems = problems(&found(1, 3, &[(name, value)]), 1, 3, BYTES);
        assert!(matches!(&problems[..], [Problem::Setting { name: n, found, .. }] if *n == name && found == value), "{name}={value}: {problems:?}");
    }
    assert_eq!(problems(&found(4, 3, &[]), 1, 3, BYTES), [Problem::Partitions { found: 4, needed: 1 }]);
    assert_eq!(problems(&found(1, 3, &[]), 4, 3, BYTES), [Problem::Partitions { found: 1, needed: 4 }]);
    assert_eq!(problems(&found(1000, 3, &[]), 0, 3, BYTES), [Problem::Partitions { found: 1000, needed: 256 }]);
    let few = problems(&found(1, 1, &[]), 1, 3, BYTES);
    assert!(matches!(few[..], [Problem::Replicas { found: 1, needed: 3 }, Problem::Setting { name: "min.insync.replicas", .. }]), "{few:?}");
    let mut silent = found(1, 1, &[]);
    silent.settings.clear();
    assert_eq!(problems(&silent, 1, 1, BYTES).len(), 6, "a setting that is not told is not taken for right");
}

#[test]
fn a_problem_comes_with_the_command_that_solves_it() {
    let mut config = KafkaLogConfig::of_url("kafka://a:1,b:2").unwrap();
    let all = |config: &KafkaLogConfig| {
        let found = found(2, 1, &[("retention.ms", "5")]);
        let problems = problems(&found, 1, 3, BYTES);
        commands(&Cluster::new(config.clone()).unwrap(), "t.metrics", &[4, 5, 6, 7], &found, &problems)
    };
    assert_eq!(
        all(&config),
        [
            "kafka-topics.sh --bootstrap-server a:1,b:2 --delete --topic t.metrics   (loses what it holds; or set log.partitions = 2 if it is \
             that of metrics, or name another log.topic_prefix)",
            "echo '{\"version\":1,\"partitions\":[{\"topic\":\"t.metrics\",\"partition\":0,\"replicas\":[4,5,6]},{\"topic\":\"t.metrics\",\"partition\":1,\"replicas\":[4,5,6]}]}' > PLAN.json && \
             kafka-reassign-partitions.sh --bootstrap-server a:1,b:2 --execute --reassignment-json-file PLAN.json",
            "kafka-configs.sh --bootstrap-server a:1,b:2 --alter --entity-type topics --entity-name t.metrics \
             --add-config min.insync.replicas=2,retention.ms=-1",
        ]
    );
    let one = found(1, 3, &[]);
    let more = commands(&Cluster::new(config.clone()).unwrap(), "t.metrics", &[4, 5, 6], &one, &problems(&one, 4, 3, BYTES));
    assert_eq!(more, ["kafka-topics.sh --bootstrap-server a:1,b:2 --alter --topic t.metrics --partitions 4"]);
    config.settings = Settings::new([("sasl.username".to_owned(), "u".to_owned())]);
    assert!(all(&config)[2].starts_with("kafka-configs.sh --bootstrap-server a:1,b:2 --command-config CLIENT.properties --alter "));
}
