//! The push: Pub/Sub's envelope, to who listens in the same process and to the endpoint that is
//! configured.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Gmail, Signer, State};
use crate::connection::lock;

/// At most one a second for each user; the others are dropped.
const SPACING_MS: i64 = 1000;

impl Gmail {
    /// The history has grown: notifies each watch.
    pub(super) fn changed(&self) {
        let now = self.now_ms();
        let told = {
            let state = &mut *lock(&self.0.state);
            let (mailbox, last) = (&state.mailbox, state.last_push_ms);
            let told = mailbox.watch.as_ref().zip(mailbox.history.back());
            if !told.is_some_and(|(watch, record)| watch.tells(record, now)) {
                return;
            }
            last.is_none_or(|last| now - last >= SPACING_MS)
        };
        self.push(told);
    }

    /// Sends a push, or counts one that is dropped.
    pub(super) fn push(&self, told: bool) {
        let config = &self.0.config;
        let now = self.now_ms();
        let (body, delays) = {
            let state = &mut *lock(&self.0.state);
            if !told || state.random.unit() < config.push_loss {
                state.stats.pushes_dropped += 1;
                return;
            }
            state.last_push_ms = Some(now);
            state.pushed += 1;
            let body = envelope(state, now);
            let copies = if state.random.unit() < config.push_repeats { 2 } else { 1 };
            state.stats.pushes += copies;
            let delay = |state: &mut State| config.push_delay.mul_f64(state.random.unit());
            (body, (0..copies).map(|_| delay(state)).collect::<Vec<_>>())
        };
        for delay in delays {
            let (twin, body) = (self.clone(), body.clone());
            if delay.is_zero() && config.push_to.is_none() {
                twin.tell(body);
            } else {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    twin.tell(body.clone());
                    if let Some(to) = twin.0.config.push_to.clone() {
                        post(&to, &body, twin.0.config.push_token.as_ref()).await;
                    }
                });
            }
        }
    }

    fn tell(&self, body: Value) {
        lock(&self.0.state).listeners.retain(|listener| listener.send(body.clone()).is_ok());
    }
}

fn envelope(state: &State, now_ms: i64) -> Value {
    let mailbox = &state.mailbox;
    let said = json!({ "emailAddress": mailbox.address, "historyId": mailbox.history_id });
    let id = (10_000_000_000 + state.pushed).to_string();
    let published = rfc3339(now_ms);
    json!({
        "message": {
            "data": general_purpose::URL_SAFE.encode(said.to_string()), "messageId": id, "message_id": id,
            "publishTime": published, "publish_time": published,
        },
        "subscription": "projects/twin/subscriptions/gmail",
    })
}

/// As in 2026-11-24T08:00:00.000Z.
fn rfc3339(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000) + 719_468, ms.rem_euclid(86_400_000));
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Posts a push until it is acknowledged, as a subscription without a retry policy does: again
/// after 100 ms, and then after twice as long up to a minute.
async fn post(to: &Uri, body: &Value, signer: Option<&Signer>) {
    const TRIES: u32 = 20;
    let mut wait = Duration::from_millis(100);
    for _ in 0..TRIES {
        if let Ok(102 | 200 | 201 | 202 | 204) = post_once(to, body, signer).await {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(60));
    }
    tracing::warn!(%to, "a push was never acknowledged");
}

async fn post_once(
    to: &Uri,
    body: &Value,
    signer: Option<&Signer>,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let authority = to.authority().ok_or("no host")?;
    let address = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let token = signer.map(|signer| signer.0());
    let path = to.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path);
    let request = match token {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    let request = request
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let _ = response.into_body().collect().await;
    driver.abort();
    Ok(status)
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_pub_sub_writes_them() {
        assert_eq!(super::rfc3339(1_795_503_600_123), "2026-11-24T07:00:00.123Z");
        assert_eq!(super::rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
    }
}
