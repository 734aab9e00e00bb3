//! The processes that share a log, as Kafka's group sees them: who has the log, and when another one gets it. No process is started here.

use super::{KafkaLog, KafkaLogConfig, RECOVERY_WAIT, config};
use afferent_storage::log::kafka::group::{Lost, Membership};
use afferent_tests::kafka::Kafka;
use std::time::Duration;
use tokio::time::timeout;

/// How a broker tells that a member took its leave; one whose session ran out "has failed" instead.
const LEFT: &str = "has left group";

async fn assigned(member: &mut Membership) {
    timeout(RECOVERY_WAIT, member.assigned()).await.expect("the log is given to nobody").unwrap();
}

/// As a graceful stop does it.
async fn go(member: Membership) {
    tokio::task::spawn_blocking(|| drop(member)).await.unwrap();
}

/// A request to join that the brokers answered late makes a process take its own name; so does a copied folder of data.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_name_another_took_joins_again_and_has_the_log_when_that_one_is_gone() {
    let Some(kafka) = Kafka::start_or_skip("a_process_whose_name_another_took_joins_again_and_has_the_log_when_that_one_is_gone", 1) else { return };
    let log = KafkaLog::open(config(&kafka, &kafka.prefix())).await.unwrap();
    let mut first = log.join("twin").unwrap();
    assigned(&mut first).await;
    let mut second = log.join("twin").unwrap();
    assigned(&mut second).await;
    assert_eq!(timeout(RECOVERY_WAIT, first.lost()).await.unwrap(), Lost::Perhaps);
    // Time to be let in under another name: the log stays where it is.
    assert!(timeout(Duration::from_secs(4), first.assigned()).await.is_err());
    go(second).await;
    assigned(&mut first).await;
    go(first).await;
    log.close().await.unwrap();
}

/// Else the group would wait for its session before it gives the log to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_goes_leaves_the_group_to_the_one_that_waits() {
    let Some(kafka) = Kafka::start_or_skip("a_process_that_goes_leaves_the_group_to_the_one_that_waits", 1) else { return };
    let log = KafkaLog::open(config(&kafka, &kafka.prefix())).await.unwrap();
    let mut first = log.join("first").unwrap();
    assigned(&mut first).await;
    let mut second = log.join("second").unwrap();
    // Time to be let in.
    assert!(timeout(Duration::from_secs(4), second.assigned()).await.is_err(), "the one that waits was given the log");
    go(first).await;
    let said = kafka.said(1).unwrap();
    let left = said.lines().find(|line| line.contains(LEFT)).unwrap_or_else(|| panic!("nobody left:\n{said}"));
    assert!(left.contains("first"), "{left}");
    assigned(&mut second).await;
    // The last one keeps its place for when it comes back.
    go(second).await;
    let mut again = log.join("second").unwrap();
    assigned(&mut again).await;
    let said = kafka.said(1).unwrap();
    assert_eq!(said.lines().filter(|line| line.contains(LEFT)).count(), 1, "the last one left:\n{said}");
    // One that goes before it knows that it was let in is not waited for either.
    let hasty = log.join("hasty").unwrap();
    go(hasty).await;
    let said = kafka.said(1).unwrap();
    assert!(said.lines().any(|line| line.contains(LEFT) && line.contains("hasty")), "the hasty one stays:\n{said}");
    go(again).await;
    log.close().await.unwrap();
}

/// Which of the partitions a process is given within a while.
async fn given(seats: &mut [Membership]) -> Vec<usize> {
    let mut given = vec![];
    for (at, seat) in seats.iter_mut().enumerate() {
        if timeout(Duration::from_millis(200), seat.assigned()).await.is_ok() {
            given.push(at);
        }
    }
    given
}

/// Waits until a process has so many of them; of those that it loses it lets go.
async fn has(seats: &mut [Membership], count: usize) -> Vec<usize> {
    let began = std::time::Instant::now();
    loop {
        let given = given(seats).await;
        if given.len() == count {
            return given;
        }
        (0..seats.len()).filter(|at| !given.contains(at)).for_each(|at| seats[at].let_go());
        assert!(began.elapsed() < RECOVERY_WAIT, "it has {given:?}, not {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partitions_are_spread_over_the_processes_that_there_are() {
    let Some(kafka) = Kafka::start_or_skip("the_partitions_are_spread_over_the_processes_that_there_are", 1) else { return };
    let log = KafkaLog::open(KafkaLogConfig { partitions: 4, ..config(&kafka, &kafka.prefix()) }).await.unwrap();
    let mut first = log.join_partitions("first").unwrap();
    assert_eq!(has(&mut first, 4).await, [0, 1, 2, 3]);
    let mut second = log.join_partitions("second").unwrap();
    // Half of them are taken from the first, which has to let go before the second has them.
    let (kept, gained) = tokio::join!(has(&mut first, 2), has(&mut second, 2));
    let mut all = [kept, gained].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3], "each partition has one process");
    tokio::task::spawn_blocking(|| drop(first)).await.unwrap();
    assert_eq!(has(&mut second, 4).await, [0, 1, 2, 3]);
    tokio::task::spawn_blocking(|| drop(second)).await.unwrap();
    log.close().await.unwrap();
}
