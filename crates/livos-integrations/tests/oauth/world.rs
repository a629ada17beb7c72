//! A server's surroundings: the twin over streams in memory, a store that can fail, a clock, and a
//! person who hears alerts.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use livos_core::{
    embedded::StorageError,
    seal::{KeyRing, SealedStore},
    secret::Secret,
    store::{Entry, Found, Key, Lifetime, Put, Store, StoreError},
    time::{Clock, Timestamp, VirtualClock},
};
use livos_integrations::oauth::{
    self, Alert, BearerLayer, Consents, FinishedBy, KeeperConfig, LifecycleConfig, Notice, ProviderConfig,
    TokenEndpoint, TokenSource, google,
};
use livos_twins::{
    Twin as _,
    google::{self as twin, Google},
};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

pub const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(24 * 3600);
pub const CALLBACK: &str = "https://livos.example/oauth/google/callback";

/// A store in memory, without a thread: under paused time, waiting for one would let timeouts fire.
/// It has what grants need, and refuses the rest.
#[derive(Default)]
pub struct MemoryStore {
    values: Mutex<BTreeMap<String, (Entry, Option<Timestamp>)>>,
    fails: AtomicBool,
    writes: AtomicU64,
}

impl MemoryStore {
    pub fn set_fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Every byte that lies in it.
    pub fn bytes(&self) -> Vec<u8> {
        let values = self.values.lock().unwrap();
        values.iter().flat_map(|(key, (entry, _))| [key.as_bytes(), &entry.value].concat()).collect()
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) { Err(StorageError::DiskFull.into()) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.check()?;
        let values = self.values.lock().unwrap();
        let living =
            values.get(key.as_str()).filter(|(_, expires)| expires.is_none_or(|expires| expires > now));
        Ok(living.map(|(entry, _)| entry.clone()))
    }

    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        let version = self.get(now, key).await?.map(|entry| entry.version);
        match self.put_if(now, key, value, version).await? {
            Put::Written(version) => Ok(version),
            Put::Conflict(_) => unreachable!("nobody came between"),
        }
    }

    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        let stands = self.get(now, key).await?.map(|entry| entry.version);
        if stands != version {
            return Ok(Put::Conflict(stands));
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        let version = stands.unwrap_or(0) + 1;
        let expires = match key.lifetime() {
            Lifetime::For(time) => Some(now.plus(time)),
            Lifetime::Forever { .. } => None,
        };
        self.values.lock().unwrap().insert(key.as_str().to_owned(), (Entry { value, version }, expires));
        Ok(Put::Written(version))
    }

    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError> {
        let there = self.get(now, key).await?.is_some();
        self.values.lock().unwrap().remove(key.as_str());
        Ok(there)
    }

    async fn add(&self, _: Timestamp, _: &Key, _: &str, _: i64) -> Result<i64, StoreError> {
        Err(StoreError::Full(0))
    }

    async fn counters(&self, _: Timestamp, _: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        Err(StoreError::Full(0))
    }

    async fn scan(&self, _: Timestamp, _: &str, _: Option<&str>, _: usize) -> Result<Vec<Found>, StoreError> {
        Err(StoreError::Full(0))
    }

    async fn collect(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

pub type Http = BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;

/// HTTP to the twin, a connection for each request.
pub fn http(twin: &Google) -> Http {
    let twin = twin.clone();
    BoxCloneSyncService::new(service_fn(move |mut request: Request<Full<Bytes>>| {
        let stream = twin.connect();
        async move {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            request.headers_mut().insert(header::HOST, "twin".parse().unwrap());
            Ok::<_, BoxError>(sender.send_request(request).await?)
        }
    }))
}

pub struct World {
    pub twin: Google,
    pub store: Arc<MemoryStore>,
    pub ring: KeyRing,
    pub clock: Arc<VirtualClock>,
    pub lifecycle: LifecycleConfig,
    pub alerts: Arc<Mutex<Vec<Alert>>>,
    pub unreachable: Arc<AtomicBool>,
}

/// One process of the server, and the task of its keeper.
pub struct Process {
    pub source: TokenSource,
    pub keeper: tokio::task::JoinHandle<()>,
}

impl World {
    pub fn new(config: twin::Config) -> Self {
        let testing = config.publishing == twin::Publishing::Testing;
        let twin = Google::new(twin::Config { epoch_ms: Some(START.unix_ms()), ..config });
        Self {
            twin,
            store: Arc::default(),
            ring: KeyRing::generate().unwrap(),
            clock: Arc::new(VirtualClock::new(START)),
            lifecycle: if testing { LifecycleConfig::google_testing() } else { LifecycleConfig::google() },
            alerts: Arc::default(),
            unreachable: Arc::default(),
        }
    }

    pub fn sealed(&self) -> SealedStore {
        SealedStore::new(Arc::<MemoryStore>::clone(&self.store), self.ring.clone())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::<VirtualClock>::clone(&self.clock)
    }

    pub fn provider(&self) -> ProviderConfig {
        let known = twin::Config::default();
        let secret = Secret::new(known.client_secret);
        google::at(
            "http://127.0.0.1:1",
            google::provider(known.client_id, secret, CALLBACK, &[google::GMAIL_MODIFY]),
        )
        .unwrap()
    }

    pub fn endpoint(&self) -> TokenEndpoint {
        TokenEndpoint::new(self.provider(), livos_core::http::HttpClient::new(http(&self.twin))).unwrap()
    }

    pub fn consents(&self) -> Consents {
        Consents::new(self.endpoint(), self.sealed(), self.clock())
    }

    /// Another process of the server, over the same store.
    pub fn process(&self) -> Process {
        self.process_of("google/anna")
    }

    pub fn process_of(&self, id: &str) -> Process {
        let mut config = KeeperConfig::new(id, "https://livos.example/oauth/google/start");
        config.lifecycle = self.lifecycle.clone();
        let (alerts, unreachable) = (Arc::clone(&self.alerts), Arc::clone(&self.unreachable));
        let person = service_fn(move |notice: Notice| {
            let heard = !unreachable.load(Ordering::SeqCst);
            if heard {
                assert_eq!(notice.consent_link, "https://livos.example/oauth/google/start");
                alerts.lock().unwrap().push(notice.alert);
            }
            std::future::ready(if heard { Ok(()) } else { Err("the chat is down") })
        });
        let (source, keeper) =
            oauth::open(config, self.sealed(), self.endpoint(), self.clock(), person).unwrap();
        Process { source, keeper: tokio::spawn(keeper) }
    }

    /// What a browser does with a link of a consent: goes there, and comes back with this query.
    pub async fn browse(&self, location: &http::Uri) -> String {
        let request = Request::get(location.clone()).body(Full::default()).unwrap();
        let response = http(&self.twin).oneshot(request).await.unwrap();
        let location = response.headers()[header::LOCATION].to_str().unwrap();
        let (page, query) = location.split_once('?').unwrap();
        assert_eq!(page, CALLBACK);
        query.to_owned()
    }

    /// A person consents, and this process gets what came of it.
    pub async fn connect(&self, process: &Process) {
        let consents = self.consents();
        let begun = consents.begin(process.source.id(), None, FinishedBy::AnyBrowser).await.unwrap();
        let query = self.browse(&begun.location).await;
        let finished = consents.finish(&query, None).await.unwrap();
        assert!(process.source.grant(finished.tokens).await.unwrap());
    }

    /// Whether an API takes the token.
    pub async fn is_good(&self, token: &Secret) -> bool {
        let request = Request::get("http://127.0.0.1:1/v1/userinfo")
            .header(header::AUTHORIZATION, format!("Bearer {}", token.expose()))
            .body(Full::default())
            .unwrap();
        http(&self.twin).oneshot(request).await.unwrap().status().is_success()
    }

    /// An API behind the grant: answers the status and the body.
    pub async fn call(&self, process: &Process, body: &str) -> Result<(u16, String), BoxError> {
        let api = BearerLayer::new(process.source.clone(), ["127.0.0.1:1"]).layer(http(&self.twin));
        let request =
            Request::get("http://127.0.0.1:1/v1/userinfo").body(Full::from(body.to_owned())).unwrap();
        let response = api.oneshot(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec())?))
    }

    pub fn alerts(&self) -> Vec<Alert> {
        self.alerts.lock().unwrap().clone()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A page of the server, as a browser calls it: the status, the headers and the text.
pub async fn get<S>(page: S, uri: &str, cookie: Option<&str>) -> (u16, http::HeaderMap, String)
where
    S: Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible>,
{
    let mut request = Request::get(uri);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    let response = page.oneshot(request.body(()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
}
