//! A task that panics is restarted alone, with its neighbours untouched:
//! `cargo run -p livos-core --example supervised_task`.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use livos_core::{drain::Drain, supervise::Supervisor};

/// Runs a task that fails `failures` times and then works, and answers how often it was started.
async fn run(failures: u32) -> u32 {
    let (supervisor, drain) = (Supervisor::new(), Drain::new());
    let signal = drain.signal();
    let (starts, (worked, works)) = (Arc::new(AtomicU32::new(0)), tokio::sync::watch::channel(false));
    let (count, stop) = (Arc::clone(&starts), signal.clone());
    supervisor.spawn_restarting("fragile", signal, move || {
        let (start, worked, stop) = (count.fetch_add(1, Ordering::SeqCst), worked.clone(), stop.clone());
        async move {
            assert!(start >= failures, "attempt {start} fails");
            worked.send_replace(true);
            stop.draining().await;
        }
    });
    let _ = works.clone().wait_for(|works| *works).await;
    drain.begin();
    let left = supervisor.shut_down(Duration::from_secs(5)).await;
    debug_assert!(left.is_empty());
    starts.load(Ordering::SeqCst)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let starts = run(2).await;
    let _ = writeln!(std::io::stdout(), "it worked at attempt {starts}");
}

#[cfg(test)]
mod tests {
    #[tokio::test(start_paused = true)]
    async fn it_is_started_until_it_works() {
        assert_eq!(super::run(2).await, 3);
    }
}
