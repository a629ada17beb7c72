//! Who is let in, which route was asked for, and what goes wrong with it.

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    Gmail, Trouble,
    error::Refused,
    methods::{self, empty, strings},
    ok,
    query_string::{Query, decode},
};
use crate::{connection::lock, serve::Body};

/// The largest body: the upload limit.
const MAX_BODY: usize = 48 << 20;

impl Gmail {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let Some(Err(refused)) = self.0.config.door.as_ref().map(|door| door.0(request.headers())) {
            lock(&self.0.state).stats.unauthorized += 1;
            return *refused;
        }
        self.respond(request).await.unwrap_or_else(Refused::into_response)
    }

    async fn respond(&self, request: Request<Incoming>) -> methods::Answer {
        let path = request.uri().path().to_owned();
        let path = path.strip_prefix("/gmail/v1/users/").and_then(|path| path.split_once('/'));
        let (user, rest) = path.ok_or_else(Refused::not_found)?;
        let (user, segments): (String, Vec<&str>) = (decode(user), rest.split('/').collect());
        let (route, units) = route(request.method(), &segments).ok_or_else(Refused::not_found)?;
        self.admit(&request, route, units)?;
        if user != "me" && user != self.0.config.address {
            return Err(Refused::new(StatusCode::FORBIDDEN, "forbidden", "Delegation denied for user"));
        }
        let trouble = self.trouble(route);
        if let Some(trouble) = trouble.filter(|trouble| *trouble != Trouble::AnswerLost) {
            return Err(trouble.into());
        }
        let query = Query::of(&request);
        let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|_| {
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "uploadTooLarge", "Request Too Large")
        })?;
        let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
        let answered = self.perform(route, &segments, &query, &body);
        match route {
            "watch" if answered.is_ok() => self.push(true),
            _ => self.changed_by(route),
        }
        trouble.map_or(answered, |trouble| Err(trouble.into()))
    }

    /// What a client changes is told like any other change.
    fn changed_by(&self, route: &str) {
        if matches!(route, "messages.send" | "messages.modify" | "messages.batchModify" | "messages.trash") {
            self.changed();
        }
    }

    /// The token and the quota.
    fn admit(&self, request: &Request<Incoming>, route: &'static str, units: u64) -> Result<(), Refused> {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|given| given.strip_prefix("Bearer ")).unwrap_or_default();
        let minute = self.now_ms().div_euclid(60_000);
        let state = &mut *lock(&self.0.state);
        *state.stats.calls.entry(route).or_default() += 1;
        let known = state.tokens.as_ref().is_none_or(|known| known.iter().any(|known| known == token));
        if self.0.config.door.is_none() && (token.is_empty() || !known) {
            state.stats.unauthorized += 1;
            return Err(Refused::unauthorized());
        }
        if state.minute.0 != minute {
            state.minute = (minute, 0);
        }
        if self.0.config.units_per_minute.is_some_and(|most| state.minute.1 + units > most) {
            return Err(Trouble::UserRateLimited.into());
        }
        state.minute.1 += units;
        state.stats.units += units;
        Ok(())
    }

    /// The trouble that is due for a request.
    fn trouble(&self, route: &'static str) -> Option<Trouble> {
        let state = &mut *lock(&self.0.state);
        let due = state
            .troubles
            .iter_mut()
            .find(|(wanted, left, _)| *left > 0 && wanted.is_none_or(|wanted| wanted == route));
        if let Some((_, left, trouble)) = due {
            let trouble = *trouble;
            *left -= 1;
            state.troubles.retain(|(_, left, _)| *left > 0);
            return Some(trouble);
        }
        let chance = state.flaky.get(route).copied()?;
        let kinds = [
            Trouble::Backend,
            Trouble::RateLimited,
            Trouble::TooMany(3),
            Trouble::UserRateLimited,
            Trouble::AnswerLost,
        ];
        let pick = usize::try_from(state.random.below(kinds.len() as u64)).unwrap_or(0);
        (state.random.unit() < chance).then(|| kinds[pick])
    }

    fn perform(&self, route: &str, segments: &[&str], query: &Query, body: &Value) -> methods::Answer {
        let now = self.now_ms();
        let keep = i64::try_from(self.0.config.history_lifetime.as_millis()).unwrap_or(i64::MAX);
        let state = &mut *lock(&self.0.state);
        state.mailbox.expire_history(now.saturating_sub(keep));
        match route {
            "profile" => Ok(ok(&json!({
                "emailAddress": state.mailbox.address, "messagesTotal": state.mailbox.messages.len(),
                "threadsTotal": state.mailbox.messages.values().map(|one| &one.thread).collect::<std::collections::BTreeSet<_>>().len(),
                "historyId": state.mailbox.history_id.to_string(),
            }))),
            "watch" => methods::watch(state, body, now, self.0.config.watch_lifetime),
            "stop" => {
                state.mailbox.watch = None;
                Ok(empty())
            }
            "history.list" => methods::history(state, query),
            "messages.list" => methods::list(state, query, now),
            "messages.get" => methods::get(state, segments[1], query),
            "messages.send" => methods::send(state, body, now),
            "messages.modify" => {
                methods::modify(state, &[segments[1].to_owned()], body, now)?;
                methods::get(state, segments[1], &Query(vec![("format".into(), "minimal".into())]))
            }
            "messages.batchModify" => {
                let ids = strings(&body["ids"]);
                if ids.is_empty() || ids.len() > 1000 {
                    return Err(Refused::invalid("ids must name 1 to 1000 messages"));
                }
                methods::modify(state, &ids, body, now)?;
                Ok(empty())
            }
            "messages.trash" => {
                let changed = state.mailbox.modify(segments[1], &["TRASH".into()], &["INBOX".into()], now);
                changed.ok_or_else(Refused::not_found)?;
                methods::get(state, segments[1], &Query(vec![("format".into(), "minimal".into())]))
            }
            "attachments.get" => methods::attachment(state, segments[1], segments[3]),
            "threads.get" => methods::thread(state, segments[1], query),
            "labels.list" => Ok(ok(&json!({ "labels": methods::labels(state) }))),
            "labels.create" => {
                let name = body["name"]
                    .as_str()
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| Refused::invalid("Invalid label name"))?;
                let id = state.mailbox.create_label(name);
                let id = id.ok_or_else(|| {
                    Refused::new(StatusCode::CONFLICT, "aborted", "Label name exists or conflicts")
                })?;
                Ok(ok(
                    &json!({ "id": id, "name": name, "messageListVisibility": "show", "labelListVisibility": "labelShow", "type": "user" }),
                ))
            }
            _ => Err(Refused::not_found()),
        }
    }
}

/// The route of a request, called as in the API, and its units.
fn route(method: &Method, segments: &[&str]) -> Option<(&'static str, u64)> {
    let (get, post) = (*method == Method::GET, *method == Method::POST);
    Some(match segments {
        ["profile"] if get => ("profile", 1),
        ["watch"] if post => ("watch", 100),
        ["stop"] if post => ("stop", 50),
        ["history"] if get => ("history.list", 2),
        ["messages"] if get => ("messages.list", 5),
        ["messages", "send"] if post => ("messages.send", 100),
        ["messages", "batchModify"] if post => ("messages.batchModify", 50),
        ["messages", _] if get => ("messages.get", 5),
        ["messages", _, "modify"] if post => ("messages.modify", 5),
        ["messages", _, "trash"] if post => ("messages.trash", 5),
        ["messages", _, "attachments", _] if get => ("attachments.get", 5),
        ["threads", _] if get => ("threads.get", 10),
        ["labels"] if get => ("labels.list", 1),
        ["labels"] if post => ("labels.create", 5),
        _ => return None,
    })
}
