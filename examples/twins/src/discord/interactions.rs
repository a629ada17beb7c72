//! Interactions: made, signed, posted to an endpoint, answered.

use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::Signer;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tower::{Service, ServiceExt};

use super::{ANNA, APPLICATION, Discord, hex, world::InteractionRecord};
use crate::{connection::lock, random::Random};

/// How long a first response may take.
pub(super) const FIRST: Duration = Duration::from_secs(3);
/// How long an interaction can be answered after that.
pub(super) const LIFE: Duration = Duration::from_secs(15 * 60);

/// How an endpoint answered an interaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The interaction.
    pub id: u64,
    /// The response, as it came.
    pub response: Value,
}

/// An endpoint that Discord would not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint {0}")]
pub struct EndpointFailure(String);

impl Discord {
    pub(super) fn new_command(&self, channel: u64, user: u64, name: &str, options: &[(&str, &str)]) -> Value {
        let id = self.new_id();
        let token =
            format!("interaction-{}", Random::derive(self.0.config.seed, "interaction", id).uuid().simple());
        let mut world = lock(&self.0.world);
        let record = InteractionRecord {
            token: token.clone(),
            channel,
            made: Instant::now(),
            response: None,
            original: None,
            original_id: id + 1,
            follow_ups: Vec::new(),
            follow_up_ids: Vec::new(),
        };
        world.interactions.insert(id, record);
        // Room for the ids of its messages.
        world.next_id(id + 64);
        let options: Vec<Value> =
            options.iter().map(|(name, value)| json!({ "name": name, "type": 3, "value": value })).collect();
        let mut interaction = json!({
            "id": id.to_string(), "application_id": APPLICATION.to_string(), "type": 2, "token": token, "version": 1,
            "channel_id": channel.to_string(), "channel": world.channel(channel), "locale": "en-US", "entitlements": [], "app_permissions": "0",
            "authorizing_integration_owners": { "0": "0" }, "attachment_size_limit": 10_485_760,
            "data": { "id": "1", "name": name, "type": 1, "options": options },
        });
        match world.channels.get(&channel).and_then(|channel| channel.guild) {
            Some(guild) => {
                interaction["guild_id"] = guild.to_string().into();
                interaction["context"] = 0.into();
                interaction["member"] = json!({
                    "user": world.user(user), "roles": [], "permissions": "0", "joined_at": "2026-01-01T00:00:00+00:00",
                    "deaf": false, "mute": false, "flags": 0,
                });
            }
            None => {
                interaction["context"] = 1.into();
                interaction["user"] = world.user(user);
            }
        }
        interaction
    }

    /// A post as Discord makes it, signed.
    pub fn signed(&self, body: &Value) -> Request<Full<Bytes>> {
        self.post(&body.to_string(), false)
    }

    fn post(&self, body: &str, wrongly: bool) -> Request<Full<Bytes>> {
        let timestamp = (self.now_ms() / 1000).to_string();
        let signed = if wrongly { format!("{timestamp}{body} ") } else { format!("{timestamp}{body}") };
        let signature = hex(&self.0.key.sign(signed.as_bytes()).to_bytes());
        let mut request = Request::new(Full::new(Bytes::from(body.to_owned())));
        *request.method_mut() = http::Method::POST;
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("user-agent", "Discord-Interactions/1.0 (+https://discord.com)".to_owned()),
            ("x-signature-ed25519", signature),
            ("x-signature-timestamp", timestamp),
        ];
        for (name, value) in headers {
            if let Ok(value) = value.parse() {
                request.headers_mut().insert(name, value);
            }
        }
        request
    }

    /// Somebody uses a command of a bot with an interactions endpoint: it is posted there and not
    /// sent over the gateway.
    pub async fn post_command<S, B>(
        &self,
        endpoint: S,
        channel: u64,
        name: &str,
        options: &[(&str, &str)],
    ) -> Result<Answered, EndpointFailure>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>>,
        S::Error: std::fmt::Display,
        B: Body<Data = Bytes>,
    {
        let interaction = self.new_command(channel, ANNA, name, options);
        let id = interaction["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or(0);
        let (status, body) = exchange(endpoint, self.signed(&interaction)).await?;
        if status != StatusCode::OK {
            return Err(EndpointFailure(format!("answered {status} to a command")));
        }
        let response: Value = serde_json::from_slice(&body)
            .map_err(|_| EndpointFailure("answered a command with what is no JSON".to_owned()))?;
        if let Some(record) = lock(&self.0.world).interactions.get_mut(&id) {
            record.respond(&response);
        }
        Ok(Answered { id, response })
    }

    /// Tries an endpoint as Discord does when its address is saved, and at random later: a ping
    /// wants a pong, and a wrong signature 401.
    pub async fn probe<S, B>(&self, endpoint: S) -> Result<(), EndpointFailure>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
        S::Error: std::fmt::Display,
        B: Body<Data = Bytes>,
    {
        let ping = json!({
            "id": self.new_id().to_string(), "application_id": APPLICATION.to_string(), "type": 1, "token": "ping", "version": 1,
            "user": null, "entitlements": [],
        });
        let (status, body) = exchange(endpoint.clone(), self.signed(&ping)).await?;
        let pong = serde_json::from_slice::<Value>(&body).is_ok_and(|body| body["type"] == 1);
        if status != StatusCode::OK || !pong {
            return Err(EndpointFailure(format!("answered {status} to a ping, and no pong")));
        }
        let (status, _) = exchange(endpoint, self.post(&ping.to_string(), true)).await?;
        if status != StatusCode::UNAUTHORIZED {
            return Err(EndpointFailure(format!("answered {status} to a wrong signature")));
        }
        Ok(())
    }

    /// A service that posts to an address on loopback, for [`Discord::post_command`] and
    /// [`Discord::probe`].
    pub fn poster(
        &self,
        address: std::net::SocketAddr,
        path: &str,
    ) -> impl Service<Request<Full<Bytes>>, Response = Response<hyper::body::Incoming>, Error = String> + Clone
    {
        let path = path.to_owned();
        tower::service_fn(move |mut request: Request<Full<Bytes>>| {
            let path = path.clone();
            async move {
                let uri = path.parse().map_err(|_| format!("{path} is no path"))?;
                *request.uri_mut() = uri;
                if let Ok(host) = address.to_string().parse() {
                    request.headers_mut().insert("host", host);
                }
                let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
                let io = hyper_util::rt::TokioIo::new(stream);
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(io).await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                sender.send_request(request).await.map_err(|error| error.to_string())
            }
        })
    }
}

impl InteractionRecord {
    /// The message of this name or number.
    pub(super) fn message_mut(&mut self, name: &str) -> Option<(u64, &mut String)> {
        if name == "@original" || name == self.original_id.to_string() {
            let id = self.original_id;
            return Some((id, self.original.get_or_insert_default()));
        }
        let index = self.follow_up_ids.iter().position(|id| name == id.to_string())?;
        Some((self.follow_up_ids[index], self.follow_ups.get_mut(index)?))
    }

    /// Takes a first response in.
    pub(super) fn respond(&mut self, response: &Value) {
        if response["type"] == 4 {
            self.original = response["data"]["content"].as_str().map(str::to_owned);
        }
        self.response = Some(response.clone());
    }
}

async fn exchange<S, B>(
    endpoint: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), EndpointFailure>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: std::fmt::Display,
    B: Body<Data = Bytes>,
{
    let answering = async {
        let response =
            endpoint.oneshot(request).await.map_err(|error| EndpointFailure(format!("failed: {error}")))?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|_| EndpointFailure("broke its answer off".to_owned()))?;
        Ok((status, body.to_bytes()))
    };
    timeout(FIRST, answering)
        .await
        .unwrap_or_else(|_| Err(EndpointFailure("took more than three seconds".to_owned())))
}
