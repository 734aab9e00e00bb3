//! Answers that real brokers give seldom, from a cluster inside this process. What real ones do is shown by the tests of the whole.

use super::*;
use afferent_engine::error::ErrorKind;
use afferent_engine::log::{Format, Topic};
use afferent_engine::time::WallTime;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

const METRICS: LogName = LogName { topic: Topic::Metrics, partition: 0 };

/// A cluster with the log's topic, and a log on it that has asked for nothing yet.
fn cluster() -> (MockCluster<'static, DefaultProducerContext>, KafkaLogConfig) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t.metrics", 1, 1).unwrap();
    let mut config = KafkaLogConfig::of_url(&format!("kafka://{}", cluster.bootstrap_servers())).unwrap();
    config.topic_prefix = "t".to_owned();
    config.append_wait = Duration::from_secs(5);
    (cluster, config)
}

fn record(number: u64) -> Record {
    Record {
        format: Format::RemoteWriteV1,
        source: Arc::from("a"),
        received_at: WallTime(0),
        body_hash: 0,
        request_id: number,
        body: vec![7; 100].into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_cannot_go_on_is_replaced() {
    let (cluster, config) = cluster();
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED]);
    let log = KafkaLog::on_any_topics(config).unwrap();
    let error = log.append(METRICS, record(0)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("was made anew"), "{error}");
    let position = log.append(METRICS, record(1)).await.unwrap();
    let read = log.read(METRICS, position, 1000).await.unwrap();
    assert_eq!(read.iter().map(|(at, found)| (*at, found.request_id)).collect::<Vec<_>>(), [(position, 1)]);
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_passes_is_not_seen() {
    let (cluster, config) = cluster();
    let passing = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION];
    cluster.request_errors(RDKafkaApiKey::Produce, &passing);
    let log = KafkaLog::on_any_topics(config).unwrap();
    assert_eq!(log.append(METRICS, record(0)).await.unwrap(), Position(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_kept_at_an_unknown_offset_is_to_be_sent_again() {
    let (cluster, config) = cluster();
    let log = KafkaLog::on_any_topics(config).unwrap();
    log.append(METRICS, record(0)).await.unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER]);
    let error = log.append(METRICS, record(1)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("an offset that the broker did not tell"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_says_its_replicas_lag_is_asked_again() {
    let (cluster, config) = cluster();
    let log = KafkaLog::on_any_topics(config).unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT; 2]);
    log.append(METRICS, record(0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_names_the_limit() {
    let (cluster, mut config) = cluster();
    config.body_bytes_max = 99;
    let log = KafkaLog::on_any_topics(config.clone()).unwrap();
    let error = log.append(METRICS, record(0)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("100 bytes, the limit is 99"), "{error}");
    config.body_bytes_max = 100;
    let log = KafkaLog::on_any_topics(config).unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let error = log.append(METRICS, record(0)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("max.message.bytes to 65636"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_written_to_is_unavailable_so_that_senders_keep_their_data() {
    let (cluster, config) = cluster();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let log = KafkaLog::on_any_topics(config).unwrap();
    let error = log.append(METRICS, record(0)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("for t.metrics"), "{error}");
}
