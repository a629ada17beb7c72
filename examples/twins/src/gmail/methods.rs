//! What each method does, and the shapes of its answers.

use base64::{Engine as _, alphabet, engine::general_purpose};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    State,
    error::Refused,
    mail::Part,
    mailbox::{Change, Message, Record, SYSTEM, Watch},
    ok, query,
    query_string::Query,
};
use crate::serve::{self, Body};

/// The largest mail.
const MAX_MAIL: usize = 36_700_160;

pub(super) type Answer = Result<Response<Body>, Refused>;

pub(super) fn empty() -> Response<Body> {
    let mut response = Response::new(serve::full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

pub(super) fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(super) fn watch(state: &mut State, body: &Value, now: i64, lifetime: std::time::Duration) -> Answer {
    let topic = body["topicName"].as_str().unwrap_or_default();
    if !matches!(topic.split('/').collect::<Vec<_>>()[..], ["projects", project, "topics", name] if !project.is_empty() && !name.is_empty())
    {
        return Err(Refused::invalid("Invalid topicName does not match projects/{project}/topics/{topic}"));
    }
    let labels = strings(&body["labelIds"]);
    if let Some(unknown) = labels.iter().find(|label| !state.mailbox.knows_label(label)) {
        return Err(Refused::invalid(format!("Invalid label: {unknown}")));
    }
    let active = state.mailbox.watch.as_ref().filter(|watch| watch.expires_ms > now);
    if active.is_some_and(|watch| watch.topic != topic) {
        return Err(Refused::invalid(
            "Only one user push notification client allowed per developer (call /stop then try again)",
        ));
    }
    let behaviour =
        body["labelFilterBehavior"].as_str().or(body["labelFilterAction"].as_str()).unwrap_or("include");
    let expires_ms = now.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX));
    let include = !behaviour.eq_ignore_ascii_case("exclude");
    state.mailbox.watch = Some(Watch { topic: topic.to_owned(), labels, include, expires_ms });
    let answer =
        json!({ "historyId": state.mailbox.history_id.to_string(), "expiration": expires_ms.to_string() });
    Ok(ok(&answer))
}

pub(super) fn history(state: &State, query: &Query) -> Answer {
    let mailbox = &state.mailbox;
    let start = query.one("startHistoryId").and_then(|start| start.parse::<u64>().ok());
    let start = start.ok_or_else(|| Refused::invalid("Missing/invalid parameter: startHistoryId"))?;
    if start < mailbox.oldest || start > mailbox.history_id {
        return Err(Refused::not_found());
    }
    let after = match query.one("pageToken") {
        None => start,
        Some(token) => token
            .strip_prefix('h')
            .and_then(|last| last.parse().ok())
            .ok_or_else(|| Refused::invalid("Invalid pageToken"))?,
    };
    let types: Vec<&str> = query.all("historyTypes").collect();
    let wanted = |record: &&Record| {
        let kind = match record.change {
            Change::Added => "messageAdded",
            Change::Deleted => "messageDeleted",
            Change::LabelsAdded(_) => "labelAdded",
            Change::LabelsRemoved(_) => "labelRemoved",
        };
        let label = query.one("labelId").is_none_or(|label| record.labels.iter().any(|known| known == label));
        record.id > after && label && (types.is_empty() || types.contains(&kind))
    };
    let most = query.page_size();
    let mut found = mailbox.history.iter().filter(wanted);
    let page: Vec<&Record> = found.by_ref().take(most).collect();
    let more = found.next().is_some();
    let mut answer = json!({ "historyId": mailbox.history_id.to_string() });
    if !page.is_empty() {
        answer["history"] = page.iter().map(|record| shown_record(record)).collect();
    }
    if let Some(last) = page.last().filter(|_| more) {
        answer["nextPageToken"] = format!("h{}", last.id).into();
    }
    Ok(ok(&answer))
}

fn shown_record(record: &Record) -> Value {
    let short = json!({ "id": record.message, "threadId": record.thread });
    let full = json!({ "id": record.message, "threadId": record.thread, "labelIds": record.labels });
    let mut shown = json!({ "id": record.id.to_string(), "messages": [short] });
    match &record.change {
        Change::Added => shown["messagesAdded"] = json!([{ "message": full }]),
        Change::Deleted => shown["messagesDeleted"] = json!([{ "message": full }]),
        Change::LabelsAdded(labels) => {
            shown["labelsAdded"] = json!([{ "message": full, "labelIds": labels }]);
        }
        Change::LabelsRemoved(labels) => {
            shown["labelsRemoved"] = json!([{ "message": full, "labelIds": labels }]);
        }
    }
    shown
}

pub(super) fn list(state: &State, query: &Query, now: i64) -> Answer {
    let mailbox = &state.mailbox;
    let before = match query.one("pageToken") {
        None => u64::MAX,
        Some(token) => token
            .strip_prefix('m')
            .and_then(|last| last.parse().ok())
            .ok_or_else(|| Refused::invalid("Invalid pageToken"))?,
    };
    let search = query.one("q").unwrap_or_default();
    let everywhere = query.one("includeSpamTrash") == Some("true") || search.contains("in:anywhere");
    let wanted = |message: &&Message| {
        let hidden = ["SPAM", "TRASH"]
            .iter()
            .any(|label| message.labels.contains(*label) && !search.to_uppercase().contains(label));
        message.number < before
            && (everywhere || !hidden)
            && query.all("labelIds").all(|label| message.labels.contains(label))
            && query::finds(search, message, mailbox, now)
    };
    let mut found: Vec<&Message> = mailbox.messages.values().filter(wanted).collect();
    found.sort_by_key(|message| std::cmp::Reverse(message.number));
    let most = query.page_size();
    let mut answer = json!({ "resultSizeEstimate": found.len() });
    if let Some(last) = found.get(most - 1).filter(|_| found.len() > most) {
        answer["nextPageToken"] = format!("m{}", last.number).into();
    }
    found.truncate(most);
    if !found.is_empty() {
        answer["messages"] =
            found.iter().map(|message| json!({ "id": message.id, "threadId": message.thread })).collect();
    }
    Ok(ok(&answer))
}

pub(super) fn get(state: &mut State, id: &str, query: &Query) -> Answer {
    let message = state.mailbox.messages.get(id).cloned().ok_or_else(Refused::not_found)?;
    Ok(ok(&shown(state, &message, query)?))
}

pub(super) fn thread(state: &mut State, id: &str, query: &Query) -> Answer {
    let mut messages: Vec<Message> =
        state.mailbox.messages.values().filter(|one| one.thread == id).cloned().collect();
    messages.sort_by_key(|message| message.number);
    let last = messages.iter().map(|message| message.history_id).max().ok_or_else(Refused::not_found)?;
    let messages: Vec<Value> =
        messages.iter().map(|message| shown(state, message, query)).collect::<Result<_, _>>()?;
    Ok(ok(&json!({ "id": id, "historyId": last.to_string(), "messages": messages })))
}

/// A mail in the format that is asked for.
fn shown(state: &mut State, message: &Message, query: &Query) -> Result<Value, Refused> {
    let mail = Part::parse(&message.raw);
    let snippet: String =
        mail.text().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    let mut shown = json!({
        "id": message.id, "threadId": message.thread, "labelIds": message.labels, "snippet": snippet,
        "sizeEstimate": message.raw.len(), "historyId": message.history_id.to_string(), "internalDate": message.internal_ms.to_string(),
    });
    match query.one("format").unwrap_or("full").to_ascii_lowercase().as_str() {
        "minimal" => {}
        "raw" => shown["raw"] = general_purpose::URL_SAFE.encode(&message.raw).into(),
        "full" => shown["payload"] = payload(state, message, &mail),
        "metadata" => {
            let wanted: Vec<String> = query.all("metadataHeaders").map(str::to_ascii_lowercase).collect();
            let headers = mail
                .headers
                .iter()
                .filter(|(name, _)| wanted.is_empty() || wanted.contains(&name.to_ascii_lowercase()));
            let headers: Vec<Value> =
                headers.map(|(name, value)| json!({ "name": name, "value": value })).collect();
            shown["payload"] = json!({ "mimeType": mail.mime_type, "headers": headers });
        }
        _ => return Err(Refused::invalid("Invalid value for format")),
    }
    Ok(shown)
}

/// Bodies of attachments are fetched apart.
fn payload(state: &mut State, message: &Message, part: &Part) -> Value {
    let headers: Vec<Value> =
        part.headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let mut body = json!({ "size": part.body.len() });
    if part.is_attachment() {
        body["attachmentId"] = state.mailbox.attachment_id(&message.id, &part.id).into();
    } else if !part.body.is_empty() {
        body["data"] = general_purpose::URL_SAFE.encode(&part.body).into();
    }
    let mut shown = json!({
        "partId": part.id, "mimeType": part.mime_type, "filename": part.filename, "headers": headers, "body": body,
    });
    if !part.parts.is_empty() {
        shown["parts"] = part.parts.iter().map(|part| payload(state, message, part)).collect();
    }
    shown
}

pub(super) fn attachment(state: &State, message: &str, id: &str) -> Answer {
    let known = state.mailbox.attachments.get(id).filter(|(of, _)| of == message);
    let (_, part) = known.ok_or_else(|| Refused::invalid("Invalid attachment token"))?;
    let message = state.mailbox.messages.get(message).ok_or_else(Refused::not_found)?;
    let mail = Part::parse(&message.raw);
    let part = mail.find(part).ok_or_else(Refused::not_found)?;
    Ok(ok(&json!({ "size": part.body.len(), "data": general_purpose::URL_SAFE.encode(&part.body) })))
}

pub(super) fn send(state: &mut State, body: &Value, now: i64) -> Answer {
    let strict = general_purpose::GeneralPurpose::new(
        &alphabet::URL_SAFE,
        general_purpose::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    let raw = body["raw"].as_str().and_then(|raw| strict.decode(raw).ok());
    let raw = raw.ok_or_else(|| {
        Refused::invalid(
            "'raw' RFC822 payload message string or uploading message via /upload/* URL required",
        )
    })?;
    if raw.len() > MAX_MAIL {
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "uploadTooLarge", "Request Too Large"));
    }
    let mail = Part::parse(&raw);
    let header = |name: &str| mail.header(name).unwrap_or_default();
    let recipients = [header("To"), header("Cc"), header("Bcc")].join(",");
    if !recipients.contains('@') {
        return Err(Refused::invalid("Recipient address required"));
    }
    let thread = body["threadId"].as_str();
    if thread.is_some_and(|thread| state.mailbox.messages.values().all(|message| message.thread != thread)) {
        return Err(Refused::not_found());
    }
    let own = state.mailbox.address.clone();
    let mut whole = Vec::with_capacity(raw.len() + 200);
    if mail.header("From").is_none() {
        whole.extend_from_slice(format!("From: {own}\r\n").as_bytes());
    }
    if mail.header("Message-ID").is_none() {
        whole.extend_from_slice(
            format!("Message-ID: <{}@mail.gmail.example>\r\n", state.random.uuid().simple()).as_bytes(),
        );
    }
    whole.extend_from_slice(&raw);
    let to_self: &[&str] = if recipients.to_lowercase().contains(&own.to_lowercase()) {
        &["SENT", "INBOX", "UNREAD"]
    } else {
        &["SENT"]
    };
    let id = state.mailbox.take_in(whole.into(), thread, to_self, now);
    let message = &state.mailbox.messages[&id];
    Ok(ok(&json!({ "id": id, "threadId": message.thread, "labelIds": message.labels })))
}

pub(super) fn modify(state: &mut State, ids: &[String], body: &Value, now: i64) -> Result<(), Refused> {
    let (add, remove) = (strings(&body["addLabelIds"]), strings(&body["removeLabelIds"]));
    if let Some(unknown) = add.iter().chain(&remove).find(|label| !state.mailbox.knows_label(label)) {
        return Err(Refused::invalid(format!("Invalid label: {unknown}")));
    }
    if add.iter().chain(&remove).any(|label| matches!(label.as_str(), "SENT" | "DRAFT"))
        || add.len() > 100
        || remove.len() > 100
    {
        return Err(Refused::invalid("Cannot modify these labels"));
    }
    if add.is_empty() && remove.is_empty() {
        return Err(Refused::invalid("No label add or removes specified"));
    }
    if ids.len() == 1 && !state.mailbox.messages.contains_key(&ids[0]) {
        return Err(Refused::not_found());
    }
    for id in ids {
        let _ = state.mailbox.modify(id, &add, &remove, now);
    }
    Ok(())
}

pub(super) fn labels(state: &State) -> Vec<Value> {
    let system = SYSTEM.iter().map(|name| json!({ "id": name, "name": name, "type": "system" }));
    let user = state.mailbox.labels.iter().map(|(id, name)| {
        json!({ "id": id, "name": name, "messageListVisibility": "show", "labelListVisibility": "labelShow", "type": "user" })
    });
    system.chain(user).collect()
}
