//! Watches a mailbox and answers each mail once: `cargo run -p livos-gmail-watch`.
//!
//! The mailbox is simulated: it delivers a mail every second and pushes a notification of it, and
//! then one of which no push tells, that the poll finds. A real one needs three changes: an HTTPS
//! client with `livos_integrations::oauth`'s layer as the service, a file instead of memory, and an
//! endpoint that hands verified pushes to `notify`.

use std::{convert::Infallible, error::Error, io::Write, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use livos_core::{
    drain::{Drain, DrainSignal},
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Job, Outcome, Queue, QueueConfig, Worker, WorkerConfig},
    store::EmbeddedStore,
    time::SystemClock,
};
use livos_integrations::gmail::{
    Gmail, GmailConfig, GmailError, MailJob, Notification, ReplyTo, WatchConfig, WatchHandle, Watcher,
};
use livos_twins::{gmail as twin, serve};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel},
};
use tower::{ServiceExt, service_fn};

type Failure = Box<dyn Error + Send + Sync>;

/// Watches the mailbox and works on what comes, until the drain. What happens is told as `lines`.
async fn app(
    base_url: &str,
    mut pushes: UnboundedReceiver<Value>,
    poll_every: Duration,
    lines: Sender<String>,
    drain: DrainSignal,
) -> Result<(), Failure> {
    let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let with_token = http.map_request(|mut request: Request<Full<Bytes>>| {
        request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer token"));
        request
    });
    let mut config = GmailConfig::default();
    config.base_url = base_url.parse()?;
    let gmail = Gmail::new(config, livos_core::http::HttpClient::new(with_token))?;
    let own = gmail.profile().await?.address;

    let file = Embedded::in_memory(EmbeddedConfig::default())?;
    let queue: Arc<dyn Queue> = Arc::new(EmbeddedQueue::new(file.clone(), QueueConfig::default()));
    let store = Arc::new(EmbeddedStore::new(file));
    let alerts = lines.clone();
    let tell = move |told| drop(alerts.try_send(format!("{told:?}")));
    let mut watch = WatchConfig::push("projects/my-project/topics/gmail");
    watch.poll_every = poll_every;
    let watcher = Watcher::new(gmail.clone(), &own, Arc::clone(&queue), store, SystemClock, tell, watch)?;

    let handle = watcher.handle();
    let hear = async {
        while let Some(body) = pushes.recv().await {
            if let Ok(notification) = Notification::from_pubsub(body.to_string().as_bytes()) {
                handle.notify(&notification);
            }
        }
    };
    let clerk = Clerk { gmail, own, handle: handle.clone(), lines };
    let work = handle.access().while_open(drain.clone(), |drain| {
        let clerk = clerk.clone();
        let service = service_fn(move |lease| clerk.clone().work(lease));
        let mut config = WorkerConfig::default();
        config.kinds = vec![MailJob::kind()];
        Worker::new(Arc::clone(&queue), service, SystemClock, config).run(drain)
    });
    tokio::select! {
        _ = async { tokio::join!(watcher.run(drain), work) } => Ok(()),
        () = hear => Ok(()),
    }
}

/// Works on the jobs.
#[derive(Clone)]
struct Clerk {
    gmail: Gmail,
    own: String,
    handle: WatchHandle,
    lines: Sender<String>,
}

impl Clerk {
    async fn work(self, lease: Job) -> Result<Outcome, Infallible> {
        let Ok(job) = MailJob::from_payload(&lease.payload) else {
            return Ok(Outcome::Dead { reason: "not a mail".into() });
        };
        let told = match self.answer(&job).await {
            Ok(line) => line,
            Err(error) => return Ok(self.handle.failed(&error)),
        };
        let _ = self.lines.send(told).await;
        Ok(Outcome::Done)
    }

    /// Reads a mail and answers it once, however often its job is tried. Mail from a machine is not
    /// answered, because the two could answer each other forever.
    async fn answer(&self, job: &MailJob) -> Result<String, GmailError> {
        let mail = self.gmail.read(&job.message).await?;
        if mail.content.automatic {
            return Ok(format!("left alone: {}", mail.content.subject));
        }
        let draft = mail.reply("Thank you, I read it.", ReplyTo::Sender, &self.own);
        self.gmail.send_once(&draft, job.message.as_str()).await?;
        Ok(format!("answered: {}", mail.content.subject))
    }
}

/// The simulated mailbox on a free port, and its address.
async fn mailbox() -> std::io::Result<(twin::Gmail, String)> {
    let mailbox = twin::Gmail::new(twin::Config::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(serve::listen(listener, mailbox.clone(), std::future::pending()));
    Ok((mailbox, base_url))
}

/// Delivers mail, and waits until each was answered.
async fn story(mailbox: &twin::Gmail, lines: &mut Receiver<String>, pause: Duration) -> Vec<String> {
    let mut told = Vec::new();
    // From the moment on that the watch is armed, what comes is somebody's job.
    while mailbox.watch_expires_ms().is_none() {
        tokio::task::yield_now().await;
    }
    for subject in ["Lunch?", "Invoice 17", "Holidays"] {
        mailbox.deliver_text("bob@example.org", subject, "Hello");
        told.extend(lines.recv().await);
        tokio::time::sleep(pause).await;
    }
    mailbox.lose_watch();
    mailbox.deliver_text("carl@example.org", "Nobody was told of this", "Hello");
    told.extend(lines.recv().await);
    told
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (mailbox, base_url) = mailbox().await?;
    let (lines, mut told) = channel(16);
    let drain = Drain::new();
    let draining = drain.signal();
    let watched = app(&base_url, mailbox.pushes(), Duration::from_secs(3), lines, draining);
    let story = async {
        for line in story(&mailbox, &mut told, Duration::from_secs(1)).await {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
        drain.begin();
    };
    tokio::join!(watched, story).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_mail_is_answered_once_pushed_or_not() {
        let (mailbox, base_url) = mailbox().await.unwrap();
        let (lines, mut told) = channel(16);
        let drain = Drain::new();
        let draining = drain.signal();
        let pushes = mailbox.pushes();
        let watched = app(&base_url, pushes, Duration::from_secs(1), lines, draining);
        let story = async {
            let told = story(&mailbox, &mut told, Duration::ZERO).await;
            drain.begin();
            told
        };
        let (watched, told) = tokio::join!(watched, story);
        watched.unwrap();
        assert_eq!(
            told,
            ["Lunch?", "Invoice 17", "Holidays", "Nobody was told of this"]
                .map(|subject| format!("answered: {subject}"))
        );
        assert_eq!(mailbox.sent().len(), 4);
    }
}
