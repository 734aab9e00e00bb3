//! The real program with its log on Kafka: killed, and left without its broker. Not the log by itself.

use super::{KafkaLog, METRICS, config};
use crate::program;
use afferent_engine::log::LogReader as _;
use afferent_engine::sim::faults::Dice;
use afferent_tests::door::Door;
use afferent_tests::kafka::Kafka;
use afferent_tests::ledger::Key;
use afferent_tests::sender::{Fleet, long_ago_ms, now_ms};
use afferent_tests::server::{Server, free_port};
use afferent_tests::wire;
use std::thread;
use std::time::{Duration, Instant};

const SENDERS: usize = 3;
const KILLS: usize = 4;

/// How long the broker stays away: longer than an append waits.
const OUTAGE: Duration = Duration::from_secs(4);

/// Epochs much smaller than usual, so that every kill meets another moment.
fn settings(kafka: &Kafka, prefix: &str) -> String {
    format!(
        "[log]\nurl = {:?}\ntopic_prefix = {prefix:?}\nappend_wait_ms = 2000\n[engine]\ncheckpoint_interval_ms = 500\n[maintain]\ninterval_s = 1\n\
         [sql]\nrows_max = 100000000\nseconds_max = 60\n",
        kafka.url()
    )
}

#[test]
fn the_program_on_kafka_stores_what_it_acknowledged_once_through_kills_and_an_outage_of_the_broker() {
    let test = "the_program_on_kafka_stores_what_it_acknowledged_once_through_kills_and_an_outage_of_the_broker";
    let Some(kafka) = Kafka::start_or_skip(test, 1) else { return };
    let (seed, prefix) = (now_ms() as u64, kafka.prefix());
    eprintln!("seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(program(), folder.path(), &settings(&kafka, &prefix)).unwrap();
    let door = server.door();
    let start_ms = long_ago_ms();
    let fleet = Fleet::new(seed, SENDERS, start_ms);
    let (probe, sample) = probe(start_ms + 86_400_000);
    let mut sent = fleet.send_during(&door, || {
        let mut random = Dice::new(!seed);
        for _ in 0..KILLS {
            thread::sleep(Duration::from_millis(500 + random.below(1500)));
            server.kill().unwrap();
            server.restart().unwrap();
        }
        outage(&kafka, &mut server, &probe);
        thread::sleep(Duration::from_secs(1));
    });
    sent.samples.acknowledge([sample]);
    assert!(sent.samples.len() > 2000, "only {} samples were acknowledged", sent.samples.len());
    let (stored, compared) = sent.expect_to_last(&mut server, "after the kills");
    assert!(compared > 50, "only {compared} panes were final");
    assert!(!data_has_a_log(&server), "the embedded log was used as well");
    let (oldest, next) = bounds(&kafka, &prefix);
    assert!(oldest > 0 && oldest <= next, "the log was not trimmed: it begins at {oldest} and ends at {next}");
    eprintln!("{stored} samples, {compared} panes; the log holds {oldest} to {next}");
}

/// The broker dies: the program lives, says 503 and when to come back, and goes on by itself once there is a broker again.
fn outage(kafka: &Kafka, server: &mut Server, probe: &[u8]) {
    kafka.kill(1).unwrap();
    let began = Instant::now();
    let answer = server.door().write_v1("outage", probe).unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{}", answer.text());
    assert!(answer.text().contains(&kafka.brokers), "it does not say where the brokers should be: {}", answer.text());
    thread::sleep(OUTAGE.saturating_sub(began.elapsed()));
    assert!(server.ended().unwrap().is_none(), "it ended while its broker was away:\n{}", server.log());
    kafka.restart([1]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !server.door().write_v1("outage", probe).is_ok_and(|answer| answer.status < 300) {
        assert!(Instant::now() < deadline, "it does not go on:\n{}", server.log());
        thread::sleep(Duration::from_millis(100));
    }
    assert!(server.ended().unwrap().is_none(), "it ended when its broker came back:\n{}", server.log());
}

/// One sample of a sender that nobody else is, and what the ledger is to know of it.
fn probe(time_ms: i64) -> (Vec<u8>, (Key, f64)) {
    let labels = [("__name__", "up"), ("code", "200"), ("instance", "outage"), ("job", "shop"), ("n", "00")];
    (wire::body_v1(vec![wire::series(&labels, &[(time_ms, 1.0)])]), (("up/outage/00".to_owned(), time_ms), 1.0))
}

fn data_has_a_log(server: &Server) -> bool {
    server.data().join("log").exists()
}

fn bounds(kafka: &Kafka, prefix: &str) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = KafkaLog::open(config(kafka, prefix)).await.unwrap();
        let (oldest, next) = log.bounds(METRICS).await.unwrap();
        (oldest.0, next.0)
    })
}

#[test]
fn a_program_whose_brokers_are_away_at_its_start_says_so_while_it_waits_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let brokers = format!("127.0.0.1:{}", free_port().unwrap());
    let mut server = Server::prepared(program(), folder.path(), "", &["--log", &format!("kafka://{brokers}")]).unwrap();
    server.spawn().unwrap();
    let ended = server.wait_end(Duration::from_secs(60)).unwrap().expect("it ends by itself");
    let log = server.log();
    assert_eq!(ended.code(), Some(1), "{log}");
    let said = log.find("waiting for Kafka").unwrap_or_else(|| panic!("it does not say what it waits for:\n{log}"));
    let gave_up = log.rfind(&format!("afferent: Kafka at {brokers} does not answer")).unwrap_or_else(|| panic!("it does not say why:\n{log}"));
    assert!(said < gave_up && log.contains("Connection refused"), "{log}");
    assert!(Door::new(server.base()).get("/readyz").is_err(), "somebody still listens");
}
