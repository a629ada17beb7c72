//! The client, with a server that may answer anything.
#![no_main]

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use livos_fuzz::peer;
use livos_integrations::gmail::{Gmail, GmailConfig, HistoryId, Search};
use tower::{BoxError, service_fn};

const STATUSES: [u16; 8] = [200, 200, 200, 400, 401, 403, 404, 429];

fuzz_target!(|data: &[u8]| {
    let Some((status, data)) = data.split_first() else { return };
    let (status, body) = (STATUSES[usize::from(status % 8)], Bytes::copy_from_slice(data));
    peer::run(async move {
        let http = service_fn(move |_: Request<Full<Bytes>>| {
            let body = Full::new(body.clone());
            async move { Response::builder().status(status).body(body).map_err(BoxError::from) }
        });
        let mut config = GmailConfig::default();
        config.retries = 1;
        config.timeout = Duration::from_secs(1);
        let gmail =
            Gmail::new(config, livos_core::http::HttpClient::new(http)).expect("a valid configuration");
        let (message, thread) = ("18c2".try_into().expect("an id"), "18c1".try_into().expect("an id"));
        let _ = gmail.profile().await;
        let _ = gmail.watch("projects/p/topics/t", None).await;
        let _ = gmail.history(HistoryId(7), None, None).await;
        let _ = gmail.search(&Search::new("x"), None).await;
        let _ = gmail.read(&message).await;
        let _ = gmail.thread(&thread).await;
        let _ = gmail.labels().await;
        if let Ok(attached) = gmail.attachments(&message).await {
            for one in attached.iter().take(2) {
                let _ = gmail.attachment(&message, &one.id).await;
            }
        }
    });
});
