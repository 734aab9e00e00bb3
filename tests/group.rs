//! Several processes on one Kafka log and one bucket: one works, the others take records in and send readers there. It is killed, stands still until
//! another one has its place, wakes, is stopped; what was acknowledged stands once.

use crate::program;
use afferent_tests::door::{Answer, Door};
use afferent_tests::kafka::Kafka;
use afferent_tests::minio::{self, Minio, Wire};
use afferent_tests::panes;
use afferent_tests::sender::{Fleet, SERIES, long_ago_ms, now_ms};
use afferent_tests::server::{Server, wait_for};
use afferent_tests::skip::skip;
use std::env;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SENDERS: usize = 2;

/// Rounds of a short run; `AFFERENT_ROUNDS` says otherwise.
const ROUNDS: usize = 1;

/// What one says that has lost its place.
const LOST: &str = "another process of the group works the log now";

/// Longest time without an answer after the one that works is gone.
const GAP_MAX: Duration = Duration::from_secs(60);

fn statement(door: &Door, text: &str) -> anyhow::Result<Answer> {
    door.post("/api/v1/sql?format=json", &[("Content-Type", "text/plain")], text.as_bytes())
}

/// Of processes that share a log of three partitions and a bucket.
pub(crate) fn settings(kafka: &Kafka, minio: &Minio) -> String {
    format!(
        "[log]\nurl = {:?}\npartitions = 3\n[engine]\ncheckpoint_interval_ms = 500\ntick_ms = 100\n[maintain]\ninterval_s = 1\n[sql]\nrows_max = 100000000\n\
         seconds_max = 60\n{}",
        kafka.url(),
        minio.config("group")
    )
}

/// Brokers, a store and a folder for a test that needs them.
pub(crate) fn brokers_and_store(test: &str, brokers: usize) -> Option<(TempDir, Kafka, Minio)> {
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = minio::installed() {
        skip(test, &format!("{reason:#}"));
        return None;
    }
    let kafka = Kafka::start_or_skip(test, brokers)?;
    let minio = Minio::start(folder.path(), Wire::Plain).unwrap();
    Some((folder, kafka, minio))
}

/// The processes; each has a folder of its own.
pub(crate) struct Group(Vec<Server>);

impl Group {
    pub(crate) fn start(count: usize, folder: &Path, config: &str) -> Self {
        let mut group = Self(vec![]);
        (0..count).for_each(|_| group.join(folder, config));
        group
    }

    /// Starts one more.
    pub(crate) fn join(&mut self, folder: &Path, config: &str) {
        let own = folder.join(self.0.len().to_string());
        std::fs::create_dir_all(&own).unwrap();
        self.0.push(Server::start(program(), &own, config).unwrap());
    }

    /// Which one answers readers itself.
    pub(crate) fn works(&self) -> Option<usize> {
        (0..self.0.len()).find(|n| self.answers(*n))
    }

    pub(crate) fn server(&mut self, n: usize) -> &mut Server {
        &mut self.0[n]
    }

    pub(crate) fn log(&self, n: usize) -> String {
        self.0[n].log()
    }

    pub(crate) fn door(&self, n: usize) -> Door {
        self.0[n].door()
    }

    pub(crate) fn answers(&self, n: usize) -> bool {
        self.0[n].door().json("/readyz").is_ok_and(|ready| ready["status"] == "ready")
    }

    /// Starts those again that have ended by themselves because they had lost their place, as whatever runs them does; not those that were stopped.
    pub(crate) fn start_again(&mut self) {
        for (n, server) in self.0.iter_mut().enumerate().filter(|(_, server)| server.process_id().is_ok()) {
            if let Some(status) = server.ended().unwrap() {
                assert_eq!(status.code(), Some(1), "{}", server.log());
                eprintln!("process {n} has ended and is started again");
                server.spawn().unwrap();
            }
        }
    }

    /// Stops one; it may just have lost its place.
    pub(crate) fn stop(&mut self, n: usize) {
        let (ended, log) = (self.0[n].stop().unwrap(), self.0[n].log());
        let told = log.lines().last().unwrap_or_default();
        assert!(ended.success() || ended.code() == Some(1) && told.contains(LOST), "{ended}: {told}");
    }

    /// Waits until another one than `gone` answers, and says how long it took.
    fn takes_over(&self, gone: usize, since: Instant, why: &str) -> usize {
        loop {
            // The one that is gone may stand still, and would not answer at all.
            if let Some(works) = (0..self.0.len()).find(|n| *n != gone && self.answers(*n)) {
                eprintln!("{why}: another one answers after {:.1} s", since.elapsed().as_secs_f64());
                return works;
            }
            assert!(since.elapsed() < GAP_MAX, "{why}: nobody answers");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The one that works goes, in three ways; the first process only takes records in, if it can be helped, because its door is the senders'.
    fn round(&mut self) {
        let all_answer = || self.0.iter().all(|server| statement(&server.door(), "SELECT 1").is_ok_and(|answer| answer.status == 200));
        wait_for("all of them to answer", all_answer);
        let works = self.works().expect("one works");
        let since = Instant::now();
        self.0[works].kill().unwrap();
        // Until another one works, what was published is answered, and it says what is missing.
        let waits = self.0[(works + 1) % self.0.len()].door();
        let part = statement(&waits, "SELECT count(*) FROM samples").unwrap();
        let told = part.header("x-afferent-partial").unwrap_or_default().to_owned();
        let part = part.json().unwrap();
        assert!(told.contains(" are missing: the process at ") && part["stats"]["partial"] == told.as_str(), "{told:?}: {part}");
        let next = self.takes_over(works, since, "killed");
        self.0[works].restart().unwrap();

        // A zombie: it stands still until its place is taken, and wakes with a checkpoint of its own in the works.
        let since = Instant::now();
        self.0[next].signal("STOP").unwrap();
        let after = self.takes_over(next, since, "stands still");
        self.0[next].signal("CONT").unwrap();
        let ended = self.0[next].wait_end(Duration::from_secs(60)).unwrap().expect("the zombie ends");
        let log = self.0[next].log();
        assert_eq!(ended.code(), Some(1), "{log}");
        assert!(log.contains(LOST) || log.contains("was written by pid-"), "{log}");
        self.0[next].restart().unwrap();

        let since = Instant::now();
        assert!(self.0[after].stop().unwrap().success());
        self.takes_over(after, since, "stopped");
        self.0[after].restart().unwrap();
    }
}

#[test]
fn of_several_processes_one_works_and_what_was_acknowledged_stands_once() {
    let test = "of_several_processes_one_works_and_what_was_acknowledged_stands_once";
    let Some((folder, kafka, minio)) = brokers_and_store(test, 1) else { return };
    let rounds = env::var("AFFERENT_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut group = Group::start(3, folder.path(), &settings(&kafka, &minio));
    wait_for("one of them to work", || group.works().is_some());
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    let fleet = Fleet::new(seed, SENDERS, long_ago_ms());
    let door = group.0[0].door();
    let sent = fleet.send_during(&door, || {
        for _ in 0..rounds {
            group.round();
        }
        // From three to two, and everything at once.
        let gone = (group.works().expect("one works") + 1) % 3;
        assert!(group.0[gone].stop().unwrap().success());
        std::thread::sleep(Duration::from_secs(1));
        group.0[gone].restart().unwrap();
        let since = Instant::now();
        group.0.iter_mut().for_each(|server| server.kill().unwrap());
        group.0.iter_mut().for_each(|server| server.spawn().unwrap());
        group.takes_over(usize::MAX, since, "all killed and started");
    });
    let works = group.0[group.works().expect("one works")].door();
    let stored = sent.expect(&works, "after all of it");
    let compared = panes::compare(&works, &SERIES.map(|(metric, _)| metric));
    eprintln!("{stored} samples, {compared} panes exact");
    assert!(stored > 1000 && compared > 50, "the load was too small to show anything");
    // Readers who ask another one have the same from it: files from the store, the rest from the memory of the one that works.
    let asked = group.0.iter().find(|server| server.door().base() != works.base()).unwrap();
    sent.expect(&asked.door(), "asked of one that waits");
    assert_eq!(panes::compare(&asked.door(), &SERIES.map(|(metric, _)| metric)), compared);
    let whole = statement(&asked.door(), "SELECT count(*) FROM samples").unwrap();
    assert_eq!((whole.status, whole.header("x-afferent-partial")), (200, None));
    let answer = asked.ask(&["sql", "--format", "csv", "SELECT count(*) > 0 AS there FROM samples"]).unwrap();
    assert!(String::from_utf8_lossy(&answer.stdout).contains("true"), "{answer:?}");
}

/// One takes records in, one works, one answers; each says what it does not do.
#[test]
fn three_processes_with_one_role_each_do_what_one_does() {
    let test = "three_processes_with_one_role_each_do_what_one_does";
    let Some((folder, kafka, minio)) = brokers_and_store(test, 1) else { return };
    let start = |role: &str| {
        let own = folder.path().join(role);
        std::fs::create_dir_all(&own).unwrap();
        let mut server = Server::prepared(program(), &own, &settings(&kafka, &minio), &["--roles", role]).unwrap();
        server.spawn().unwrap();
        server.wait_ready().unwrap();
        server
    };
    let (mut work, mut intake, mut query) = (start("work"), start("intake"), start("query"));
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    let sent = Fleet::new(seed, SENDERS, long_ago_ms()).send_during(&intake.door(), || std::thread::sleep(Duration::from_secs(3)));
    let stored = sent.expect(&query.door(), "asked of the one that answers");
    assert!(stored > 500, "the load was too small to show anything: {stored}");
    let cards = query.door().json("/api/v1/cards").unwrap();
    assert!(cards["cards"].as_array().is_some_and(|cards| !cards.is_empty()), "{cards}");
    for (server, without) in [(&work, "server.roles is without query"), (&intake, "server.roles is without query")] {
        let answer = statement(&server.door(), "SELECT 1").unwrap();
        assert!(answer.status == 503 && answer.text().contains(without), "{}", answer.text());
    }
    for server in [&work, &query] {
        let answer = server.door().write_v1("nobody", b"nothing").unwrap();
        assert!(answer.status == 503 && answer.text().contains("server.roles is without intake"), "{}", answer.text());
    }
    for server in [&mut query, &mut intake, &mut work] {
        assert!(server.stop().unwrap().success());
    }
}
