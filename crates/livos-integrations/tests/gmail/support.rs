//! A mailbox at the twin, a client that leads to it, and a process that watches, and what was done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use livos_core::{
    drain::Drain,
    time::{Clock, Timestamp},
};
use livos_integrations::gmail::{Gmail, GmailConfig, MailJob, Told, WatchConfig, WatchHandle, Watcher};
use livos_twins::{Twin as _, gmail as twin};
use tower::{BoxError, ServiceExt, service_fn, util::BoxCloneSyncService};

pub use crate::disk::{Disk, Fuse};

pub const EPOCH: i64 = 1_800_000_000_000;
pub const ADDRESS: &str = "anna@example.org";
pub const TOPIC: &str = "projects/p/topics/t";
pub const DAY: Duration = Duration::from_secs(86_400);

pub type Http = BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;

/// The time of the paused runtime, as the twin has it.
#[derive(Clone)]
pub struct Virtual(tokio::time::Instant);

impl Virtual {
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(EPOCH).plus(self.0.elapsed())
    }
}

pub fn provider(config: twin::Config) -> twin::Gmail {
    twin::Gmail::new(twin::Config { epoch_ms: Some(EPOCH), ..config })
}

/// An HTTP service that leads to the twin and adds a token, as the token layer does.
pub fn http(provider: &twin::Gmail) -> Http {
    let provider = provider.clone();
    Http::new(service_fn(move |mut request: Request<Full<Bytes>>| {
        let provider = provider.clone();
        async move {
            let (mut sender, connection) = http1::handshake(TokioIo::new(provider.connect())).await?;
            let connection = tokio::spawn(connection);
            request.headers_mut().insert(header::AUTHORIZATION, "Bearer token".parse()?);
            request.headers_mut().insert(header::HOST, "twin".parse()?);
            let response = sender.send_request(request).await?;
            // The connection lives until its answer was read, or the test is over.
            drop(connection);
            Ok::<_, BoxError>(response)
        }
    }))
}

/// One whose requests burn a fuse.
pub fn fused_client(provider: &twin::Gmail, fuse: &Fuse) -> Gmail {
    let (http, fuse) = (http(provider), fuse.clone());
    let http = service_fn(move |request| {
        let (http, fuse) = (http.clone(), fuse.clone());
        async move {
            fuse.step().await;
            let response = http.oneshot(request).await;
            fuse.step().await;
            response
        }
    });
    let mut config = GmailConfig::default();
    config.base_url = "http://twin".parse().unwrap();
    Gmail::new(config, livos_core::http::HttpClient::new(Http::new(http))).unwrap()
}

pub fn client(provider: &twin::Gmail) -> Gmail {
    client_with(provider, |_| {})
}

pub fn client_with(provider: &twin::Gmail, change: impl FnOnce(&mut GmailConfig)) -> Gmail {
    let mut config = GmailConfig::default();
    config.base_url = "http://twin".parse().unwrap();
    change(&mut config);
    Gmail::new(config, livos_core::http::HttpClient::new(http(provider))).unwrap().with_clock(Virtual::new())
}

/// What a person was told.
pub type Heard = Arc<Mutex<Vec<Told>>>;

/// A process: it watches until it is ended or dropped.
pub struct Process {
    pub handle: WatchHandle,
    drain: Drain,
    task: tokio::task::JoinHandle<()>,
}

impl Process {
    pub fn start(gmail: Gmail, disk: &Disk, clock: &Virtual, heard: &Heard, config: WatchConfig) -> Self {
        let heard = Arc::clone(heard);
        let tell = move |told| heard.lock().unwrap().push(told);
        let (queue, store) = (Arc::clone(&disk.queue), Arc::clone(&disk.store));
        let watcher = Watcher::new(gmail, ADDRESS, queue, store, clock.clone(), tell, config).unwrap();
        let (handle, drain) = (watcher.handle(), Drain::new());
        let draining = drain.signal();
        let task = tokio::spawn(watcher.run(draining));
        Self { handle, drain, task }
    }

    /// Cut off wherever it is.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn end(self) {
        self.drain.begin();
        self.task.await.unwrap();
    }
}

/// Does every job that there is, and counts how often each message was one.
pub async fn work(disk: &Disk, clock: &Virtual, done: &mut BTreeMap<String, u32>) {
    while let Some(lease) = disk.queue.lease(clock.now(), &[MailJob::kind()], DAY).await.unwrap() {
        let job = MailJob::from_payload(&lease.payload).unwrap();
        assert_eq!(job.account, ADDRESS);
        *done.entry(job.message.to_string()).or_default() += 1;
        disk.queue.ack(clock.now(), lease).await.unwrap();
    }
}

/// Each of these messages was a job, once, and nothing else was.
pub fn assert_once(done: &BTreeMap<String, u32>, delivered: &[String]) {
    let lost: Vec<&String> = delivered.iter().filter(|id| !done.contains_key(*id)).collect();
    let twice: Vec<&String> = done.iter().filter(|(_, times)| **times > 1).map(|(id, _)| id).collect();
    let some = |ids: &[&String]| ids.iter().take(3).map(ToString::to_string).collect::<Vec<_>>();
    let (first, again) = (some(&lost), some(&twice));
    assert!(
        lost.is_empty() && twice.is_empty(),
        "{} lost: {first:?}, {} twice: {again:?}",
        lost.len(),
        twice.len()
    );
    assert_eq!(done.len(), delivered.len(), "jobs of messages that were not delivered");
}
