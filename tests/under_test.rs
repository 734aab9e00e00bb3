//! The program as it is shipped, but for one thing: at a step that the environment names it ends at once, or stands still until it is continued.
//!
//! `AFFERENT_AT_STEP` is `<step>:<n>:<kill|stop>`: at the n-th time that this process reaches the step. `AFFERENT_HASTE` lets upkeep wait so many
//! times shorter.

use afferent_api::command::{self, CommandLine};
use afferent_storage::steps::{Step, Steps};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

/// The shipped program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let steps = std::env::var("AFFERENT_AT_STEP").map_or_else(|_| Steps::default(), |text| watched(&text));
    let haste = std::env::var("AFFERENT_HASTE").map_or(1, |text| text.parse().expect("AFFERENT_HASTE is a number"));
    let steps = steps.in_haste(haste);
    ExitCode::from(command::main_watched(CommandLine::read(), steps).code())
}

fn watched(text: &str) -> Steps {
    let mut parts = text.split(':');
    let (step, nth, act) = (parts.next().and_then(Step::parse), parts.next().and_then(|n| n.parse::<u64>().ok()), parts.next());
    let (Some(step), Some(nth), Some(act @ ("kill" | "stop"))) = (step, nth, act) else {
        panic!("AFFERENT_AT_STEP is {text:?}, not <step>:<n>:<kill|stop>");
    };
    let (stop, reached) = (act == "stop", AtomicU64::new(0));
    Steps::watched(move |now| {
        if now != step || reached.fetch_add(1, Ordering::Relaxed) + 1 != nth {
            return;
        }
        if stop {
            // All threads stand still before this one goes on.
            Command::new("kill").args(["-STOP", &std::process::id().to_string()]).status().expect("the program kill");
        } else {
            // As a kill -9 in this very instruction: nothing is flushed, nobody is told, and no other thread gets further.
            std::process::abort();
        }
    })
}
