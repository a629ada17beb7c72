//! What a panic leaves in the log. In a file of its own: the hook and the subscriber belong to the
//! whole process.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use livos_core::supervise::{Supervisor, install_panic_hook};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_is_logged_once_with_its_task_its_place_and_its_backtrace() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    install_panic_hook();
    install_panic_hook();

    let supervisor = Supervisor::default();
    supervisor.spawn("gmail watch", async { panic!("deliberate, in a test") });
    while supervisor.panics() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("a panic task=").count(), 1, "it is logged once: {log}");
    for wanted in ["gmail watch", "deliberate, in a test", "tests/panic_hook.rs", "a_panic_is_logged_once"] {
        assert!(log.contains(wanted), "{wanted} is not in {log}");
    }
}
