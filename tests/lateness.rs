//! What a view shows, and when, if samples come late: a sender that was cut off, a clock that runs ahead, sources that fall silent or lag, samples late
//! by a minute, by ten, by two days. Each ends in the exact figure. The engine is the real one on ports in memory, driven by arrival times.

mod world;

use afferent_engine::time::PANE_MS;
use world::{BASE_MS, Shown, World};

const MINUTE: i64 = PANE_MS;
const HOUR: i64 = 60 * MINUTE;

/// A counter that grows by 1 every 15 seconds on each of two hosts.
fn minute_of(world: &mut World, source: &str, host: &str, minute: i64, received_at: i64) {
    let samples = (0..4).map(|k| (host.to_owned(), BASE_MS + minute * MINUTE + k * 15_000, (minute * 4 + k) as f64)).collect();
    world.send(source, received_at, samples);
}

/// Minutes `from..to` of a host, each arriving as it ends.
fn live(world: &mut World, source: &str, host: &str, minutes: std::ops::Range<i64>) {
    for minute in minutes {
        minute_of(world, source, host, minute, BASE_MS + (minute + 1) * MINUTE);
    }
}

async fn exact(world: &mut World, what: &str) {
    world.settled().await;
    let plain = world.plain().await;
    for (view, want) in &plain {
        let got = world.rows(view);
        let missing: Vec<&String> = want.iter().filter(|r| !got.contains(r)).collect();
        let surplus: Vec<&String> = got.iter().filter(|r| !want.contains(r)).collect();
        assert!(&got == want, "{what}: {view} differs from one run over the accepted rows\nmissing {missing:#?}\nsurplus {surplus:#?}");
    }
    assert_eq!(world.stored_samples(), world.accepted(), "{what}: accepted samples and rows of samples");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_cut_off_for_two_hours_catches_up_without_a_loss() {
    let mut world = World::new().await;
    live(&mut world, "a", "h1", 0..10);
    live(&mut world, "b", "h2", 0..10);
    // b is cut off; a goes on, and nobody waits for b.
    live(&mut world, "a", "h1", 10..130);
    world.settled().await;
    assert_eq!(world.shown(100), Shown { count: 4, hosts: 1, revision: 0 }, "a's minutes are final though b is away");
    // b's shards come back minutes apart, each older than anything that is still open, while a goes on.
    for minute in (10..70).chain(70..130) {
        minute_of(&mut world, "b", "h2", minute, BASE_MS + 131 * MINUTE + minute * 1_000);
    }
    live(&mut world, "a", "h1", 130..133);
    world.settled().await;
    assert_eq!(world.shown(100), Shown { count: 8, hosts: 2, revision: 1 }, "b's minute 100 is counted, as a revision");
    assert_eq!(world.total(), (133 * 4 + 130 * 4, 133 * 4 - 1 + 130 * 4 - 1), "every sample and every step of both counters");
    exact(&mut world, "cut off for two hours").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sample_from_the_future_poisons_nobody() {
    let mut world = World::new().await;
    live(&mut world, "a", "h1", 0..20);
    // Decoders refuse what is beyond the guard; four minutes ahead is inside it.
    world.send("clock-ahead", BASE_MS + 20 * MINUTE, vec![("h9".into(), BASE_MS + 24 * MINUTE, 1.0)]);
    live(&mut world, "a", "h1", 20..40);
    world.settled().await;
    assert_eq!(world.late(), 0, "nobody is late because one clock runs ahead");
    assert_eq!(world.shown(22), Shown { count: 4, hosts: 1, revision: 0 });
    exact(&mut world, "one sample from the future").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_stalls_nothing_and_a_slow_one_loses_nothing() {
    let mut world = World::new().await;
    live(&mut world, "idle", "h1", 0..5);
    // The slow source is always three minutes behind, which is within lateness: it holds the watermark, and nothing of it is late.
    for minute in 5..40 {
        minute_of(&mut world, "fast", "h2", minute, BASE_MS + (minute + 1) * MINUTE);
        if minute >= 8 {
            minute_of(&mut world, "slow", "h3", minute - 3, BASE_MS + (minute + 1) * MINUTE);
        }
    }
    world.settled().await;
    assert_eq!(world.late(), 0);
    assert_eq!(world.shown(20), Shown { count: 8, hosts: 2, revision: 0 }, "final with the slow source in it, though one source is silent");
    exact(&mut world, "idle and slow sources").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_without_a_row_complete_a_window_like_any_other() {
    let mut world = World::new().await;
    live(&mut world, "a", "h1", 0..12);
    world.settled().await;
    // Nothing comes for the minutes 12 to 14, so the window up to 15 completes though no row of it becomes final then.
    for step in 0..40 {
        let time = BASE_MS + 15 * MINUTE + 10_000 + step * 10_000;
        world.send("a", time, vec![("h1".into(), time, 48.0)]);
        world.settled().await;
        world.send("a", time, vec![("h2".into(), BASE_MS + 3 * MINUTE + step * 1_000, 7.0)]);
        exact(&mut world, "a window whose last minutes are empty").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_by_a_minute_ten_minutes_and_two_days() {
    let mut world = World::new().await;
    let days = 2 * 24 * 60;
    live(&mut world, "a", "h1", 0..30);
    live(&mut world, "a", "h1", days..days + 30);
    world.settled().await;
    let now = BASE_MS + (days + 30) * MINUTE;
    let late = |minute: i64| vec![("h2".to_owned(), BASE_MS + minute * MINUTE + 5_000, 7.0)];
    // Within lateness: the open window simply has it.
    world.send("b", now, late(days + 28));
    world.settled().await;
    assert_eq!(world.late(), 0);
    assert_eq!(world.shown(days + 28).count, 5);
    // Ten minutes: the window was final, and is corrected.
    world.send("b", now + 1_000, late(days + 18));
    world.settled().await;
    assert_eq!(world.shown(days + 18), Shown { count: 5, hosts: 2, revision: 1 });
    // Two days: another date of the lake, long checkpointed.
    world.send("b", now + 2_000, late(12));
    world.settled().await;
    assert_eq!(world.shown(12), Shown { count: 5, hosts: 2, revision: 1 });
    assert_eq!(world.late(), 2, "both were told as late too");
    // The same again, in another body: nothing changes.
    world.send("b", now + 3_000, [late(12), late(days + 18)].concat());
    world.settled().await;
    assert_eq!(world.shown(12), Shown { count: 5, hosts: 2, revision: 1 });
    exact(&mut world, "late by a minute, ten minutes, two days").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_defined_later_equals_one_that_was_there_and_a_new_generation_replaces_it() {
    let mut world = World::new().await;
    live(&mut world, "a", "h1", 0..200);
    live(&mut world, "a", "h2", 150..170);
    world.settled().await;
    world.define("late_hour", world::HOURS, false).await;
    world.define("late_sums", "SELECT host, window_start, SUM(n) OVER (PARTITION BY host ORDER BY window_start RANGE BETWEEN INTERVAL '30 minutes' PRECEDING AND CURRENT ROW) AS n30 FROM minutes", false).await;
    live(&mut world, "a", "h1", 200..320);
    world.served("late_hour", 1).await;
    world.served("late_sums", 1).await;
    exact(&mut world, "defined in mid-stream").await;
    assert_eq!(world.rows("late_hour"), world.rows("hours"), "the same query, defined before and after");
    // Another definition: readers see the old one until the new one has its history.
    world.define("late_hour", &world::HOURS.replace("SUM(increase)", "SUM(increase) * 2"), true).await;
    world.served("late_hour", 2).await;
    exact(&mut world, "a new generation").await;
    let status = world.status("late_hour");
    let difference = status.generations.iter().find(|g| g.generation == 2).and_then(|g| g.difference).expect("both were compared");
    assert!(difference.changed > 0 && difference.gone == 0 && difference.added == 0, "{difference:?}");
    assert_eq!(world.roll_back("late_hour").await, 1);
    assert_eq!(world.rows("late_hour"), world.rows("hours"));
    // It all survives a restart, and goes on.
    world.restart().await;
    live(&mut world, "a", "h1", 320..400);
    exact(&mut world, "after a restart").await;
    assert_eq!(world.rows("late_hour"), world.rows("hours"));
    let hours_of_h1 = world.rows("hours").iter().filter(|r| r.contains("host=h1")).count();
    assert!(hours_of_h1 as i64 >= 400 * MINUTE / HOUR, "{hours_of_h1} hours");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_computed_of_the_past_is_written_though_nothing_comes_any_more() {
    let mut world = World::new().await;
    live(&mut world, "a", "h1", 0..200);
    world.settled().await;
    world.define("late_hour", world::HOURS, false).await;
    world.served("late_hour", 1).await;
    assert_eq!(world.rows("late_hour"), world.rows("hours"));
    let complete = world.written("hours").await;
    assert!(!complete.is_empty());
    assert_eq!(world.written("late_hour").await, complete, "the windows that are complete stand in the lake");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_dropped_and_defined_again_has_nothing_of_the_one_before() {
    let mut world = World::new().await;
    live(&mut world, "a", "h1", 0..200);
    world.settled().await;
    for (generation, sql) in [
        (1, world::HOURS.to_owned()),
        (2, world::HOURS.replace("'1 hour'", "'30 minutes'")),
        (3, world::HOURS.replace("SUM(count)", "SUM(count) * 2")),
    ] {
        world.define("again", &sql, false).await;
        world.served("again", generation).await;
        exact(&mut world, "defined again").await;
        assert!(!world.written("again").await.is_empty());
        world.drop_view("again").await;
        if generation == 2 {
            world.restart().await;
        }
    }
    exact(&mut world, "dropped").await;
}
