use super::*;
use crate::log::{Record, Topic};
use async_trait::async_trait;
use std::sync::Mutex;
use tokio::sync::watch;

/// Logs that stand still, fail, or end where they were asked for the how-manieth time.
struct Logs {
    still: watch::Sender<Vec<LogName>>,
    fail: Mutex<Vec<LogName>>,
    asked: Mutex<BTreeMap<LogName, u64>>,
}

#[async_trait]
impl LogReader for Logs {
    async fn read(&self, _: LogName, _: Position, _: usize) -> Result<Vec<(Position, Record)>> {
        Ok(vec![])
    }

    async fn bounds(&self, log: LogName) -> Result<(Position, Position)> {
        let time = {
            let mut asked = self.asked.lock().unwrap();
            let time = asked.entry(log).or_default();
            *time += 1;
            *time
        };
        self.still.subscribe().wait_for(|still| !still.contains(&log)).await.unwrap();
        let fails = self.fail.lock().unwrap().contains(&log);
        if fails { Err(Error::unavailable(format!("{log} is away"))) } else { Ok((Position(0), Position(time))) }
    }

    async fn trim(&self, _: LogName, _: Position) -> Result<()> {
        Ok(())
    }
}

fn log(partition: u32) -> LogName {
    LogName { topic: Topic::Metrics, partition }
}

#[tokio::test]
async fn a_log_that_stands_still_holds_up_neither_the_others_nor_twice() {
    let logs = Arc::new(Logs { still: watch::channel(vec![log(0)]).0, fail: Mutex::default(), asked: Mutex::default() });
    let (reader, names): (Arc<dyn LogReader>, _) = (logs.clone(), [log(0), log(1)]);
    let mut ends = Ends::default();
    let began = Instant::now();
    let mut ask = async || {
        let (ends, away) = ends.ask(&reader, &names).await.unwrap();
        (ends.iter().map(|end| (end.log, end.next.0)).collect::<Vec<_>>(), away.map(|e| e.to_string()))
    };
    let silent = Some("the log metrics/0 does not say where it ends".to_owned());
    assert_eq!(ask().await, (vec![(log(1), 1)], silent.clone()));
    assert!(began.elapsed() >= ANSWER_WAIT);
    for time in 2..5 {
        assert_eq!(ask().await, (vec![(log(1), time)], silent.clone()));
    }
    assert!(began.elapsed() < 2 * ANSWER_WAIT, "it is not waited for again");
    assert_eq!(logs.asked.lock().unwrap()[&log(0)], 1, "nor asked twice at a time");
    // What it says then is what it was asked then.
    logs.still.send_replace(vec![]);
    tokio::task::yield_now().await;
    assert_eq!(ask().await, (vec![(log(0), 1), (log(1), 5)], None));
    assert_eq!(ask().await, (vec![(log(0), 2), (log(1), 6)], None));
}

#[tokio::test]
async fn a_log_that_fails_is_told_of_while_the_others_go_on() {
    let logs = Arc::new(Logs { still: watch::channel(vec![]).0, fail: Mutex::new(vec![log(1)]), asked: Mutex::default() });
    let (reader, names): (Arc<dyn LogReader>, _) = (logs.clone(), [log(0), log(1)]);
    let mut ends = Ends::default();
    let (first, away) = ends.ask(&reader, &names).await.unwrap();
    assert_eq!((first.len(), away.unwrap().to_string()), (1, "metrics/1 is away".to_owned()));
    let (second, away) = ends.ask(&reader, &names).await.unwrap();
    assert!(second.len() == 1 && away.is_some());
    logs.fail.lock().unwrap().clear();
    tokio::time::sleep(ASK_AGAIN).await;
    let (all, away) = ends.ask(&reader, &names).await.unwrap();
    assert!(all.len() == 2 && away.is_none());
}
