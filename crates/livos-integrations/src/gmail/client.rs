//! The client: the operations that an agent needs, over whatever HTTP service it was given.

use std::{error::Error, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use livos_core::{
    http::HttpClient,
    time::{Clock, SystemClock, Timestamp},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    AttachmentId, Content, GmailConfig, GmailError, GmailErrorKind, HistoryId, InvalidGmailConfig, LabelId,
    MailDraft, MessageId, ReplyTo, ThreadId,
    call::{Call, Caller, query, random},
    push,
    read::{
        Armed, AttachmentInfo, Found, HistoryPage, Label, Mail, MessageRef, PageToken, Profile, Search,
        Summary,
    },
    wire,
};

/// A client of one mailbox. Cloning shares the HTTP service and the bound on parallel requests.
///
/// The service that it is given adds the token, and answers with an error that is recognised as the
/// end of the grant: with [`super::ConsentNeeded`] in its chain, or with one that
/// [`Gmail::with_token_death`] knows. Every method may be cancelled; what was sent by then may
/// still happen.
#[derive(Clone)]
pub struct Gmail {
    caller: Caller,
    clock: Arc<dyn Clock>,
}

impl Gmail {
    /// The most messages that are changed or summarised in one call.
    pub const MAX_BATCH: usize = 1000;

    /// A client over any HTTP service, with a configuration that is checked here, once.
    pub fn new(config: GmailConfig, http: HttpClient) -> Result<Self, InvalidGmailConfig> {
        config.validate()?;
        Ok(Self { caller: Caller::new(config, http), clock: Arc::new(SystemClock) })
    }

    /// Recognises the service's own error for a grant that is gone; it is asked about each error in
    /// a chain.
    #[must_use]
    pub fn with_token_death(
        mut self,
        recognise: impl Fn(&(dyn Error + 'static)) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.caller.set_token_death(Arc::new(recognise));
        self
    }

    /// With another clock than the machine's, for the dates of mails that are sent.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Whose mailbox it is, and where its history stands.
    pub async fn profile(&self) -> Result<Profile, GmailError> {
        let body: wire::ProfileBody = self.caller.json(Call::get("profile", "profile")).await?;
        Ok(body.into())
    }

    /// Asks for pushes to a Pub/Sub topic, or for longer ones where they are on. With a label only
    /// for changes of that.
    pub async fn watch(&self, topic: &str, label: Option<&LabelId>) -> Result<Armed, GmailError> {
        let mut asked = json!({ "topicName": topic });
        if let Some(label) = label {
            asked["labelIds"] = json!([label.as_str()]);
            asked["labelFilterBehavior"] = json!("include");
        }
        let body: wire::WatchBody = self.caller.json(Call::post("watch", "watch", &asked)).await?;
        let expires_at = Timestamp::from_unix_ms(i64::try_from(body.expiration).unwrap_or(i64::MAX));
        Ok(Armed { expires_at, history_id: body.history_id })
    }

    /// Ends the pushes, within some minutes.
    pub async fn stop(&self) -> Result<(), GmailError> {
        self.caller.bytes(Call::post("stop", "stop", &json!({}))).await.map(|_| ())
    }

    /// What came into a label, or anywhere, after a place in the history: new mail, and mail that
    /// was moved there, such as out of spam. [`GmailError::is_not_found`] if the place is too old.
    pub async fn history(
        &self,
        after: HistoryId,
        label: Option<&LabelId>,
        page: Option<&PageToken>,
    ) -> Result<HistoryPage, GmailError> {
        let mut pairs = vec![
            ("startHistoryId", after.to_string()),
            ("historyTypes", "messageAdded".to_owned()),
            ("historyTypes", "labelAdded".to_owned()),
            ("maxResults", "500".to_owned()),
        ];
        pairs.extend(label.map(|label| ("labelId", label.to_string())));
        pairs.extend(page.map(|page| ("pageToken", page.0.clone())));
        let body: wire::HistoryBody = self.caller.json(Call::get("history", query("history", pairs))).await?;
        let inbox = LabelId::inbox();
        let wanted = label.unwrap_or(&inbox);
        Ok(HistoryPage {
            through: body.history.iter().map(|record| record.id).max(),
            added: body.history.into_iter().flat_map(|record| record.come_into(wanted)).map(named).collect(),
            now: body.history_id,
            next: body.next_page_token.map(PageToken),
        })
    }

    /// Finds messages, newest first.
    pub async fn search(&self, search: &Search, page: Option<&PageToken>) -> Result<Found, GmailError> {
        const OPERATION: &str = "search";
        if search.query.len() > Search::MAX_QUERY {
            return Err(GmailError::new(OPERATION, GmailErrorKind::Rejected, "the query is too long"));
        }
        let mut pairs = vec![("maxResults", search.most.clamp(1, 500).to_string())];
        pairs.extend((!search.query.is_empty()).then(|| ("q", search.query.clone())));
        pairs.extend(search.labels.iter().map(|label| ("labelIds", label.to_string())));
        pairs.extend(page.map(|page| ("pageToken", page.0.clone())));
        let body: wire::ListBody = self.caller.json(Call::get(OPERATION, query("messages", pairs))).await?;
        let messages = body.messages.into_iter().map(named).collect();
        Ok(Found { messages, next: body.next_page_token.map(PageToken) })
    }

    /// Reads a message. Of one that is longer than [`super::MailLimits::bytes`] the beginning is
    /// read, and its content says that it is cut.
    pub async fn read(&self, id: &MessageId) -> Result<Mail, GmailError> {
        const OPERATION: &str = "read";
        let limits = self.caller.config.limits;
        // Base64 makes four bytes of three; the rest of the answer is small.
        let most = limits.bytes / 3 * 4 + (256 << 10);
        let call = Call::get(OPERATION, format!("messages/{id}?format=raw")).at_most(most).or_its_start();
        let answer = self.caller.answer(call).await?;
        let unreadable = |reason| move || GmailError::new(OPERATION, GmailErrorKind::Unreadable, reason);
        let (body, raw): (wire::MessageBody, _) = if answer.is_whole {
            let body: wire::MessageBody = self.caller.parse(OPERATION, &answer.body)?;
            let raw = body.raw.as_deref().map_or_else(|| Some(body.head()), push::decode);
            let raw = raw.ok_or_else(unreadable("the mail is not base64"))?;
            (body, raw)
        } else {
            // What Gmail says about the mail may stand behind the part that was read.
            let call = Call::get(OPERATION, format!("messages/{id}?format=metadata"));
            let body: wire::MessageBody = self.caller.json(call).await?;
            let raw = wire::start_of_raw(&answer.body).unwrap_or_else(|| body.head());
            (body, raw)
        };
        let is_cut = !answer.is_whole || raw.len() > limits.bytes;
        Ok(Mail {
            received_at: body.received_at(),
            snippet: super::text::one_line(&body.snippet, 1000),
            content: Content::parse_start(&raw, is_cut, &limits),
            id: body.id,
            thread: body.thread_id,
            labels: body.label_ids,
        })
    }

    /// What a list shows of a message.
    pub async fn summary(&self, id: &MessageId) -> Result<Summary, GmailError> {
        let path = format!("messages/{id}?{SUMMARY}");
        let body: wire::MessageBody = self.caller.json(Call::get("summary", path)).await?;
        Ok(body.into())
    }

    /// What a list shows of messages, in their order, some at a time. Those that are gone by now
    /// are left out.
    pub async fn summaries(&self, ids: &[MessageId]) -> Result<Vec<Summary>, GmailError> {
        bounded("summaries", ids)?;
        let each = stream::iter(ids.iter().cloned().map(|id| async move { self.summary(&id).await }));
        let found = each.buffered(self.caller.config.parallel).map(|summary| match summary {
            Err(error) if error.is_not_found() => Ok(None),
            summary => summary.map(Some),
        });
        found.try_filter_map(|summary| async move { Ok(summary) }).try_collect().await
    }

    /// A conversation, oldest first.
    pub async fn thread(&self, id: &ThreadId) -> Result<Vec<Summary>, GmailError> {
        let body: wire::ThreadBody =
            self.caller.json(Call::get("thread", format!("threads/{id}?{SUMMARY}"))).await?;
        Ok(body.messages.into_iter().map(Into::into).collect())
    }

    /// What is attached to a message, without its bytes: for one that was cut, or too long to be
    /// read at once.
    pub async fn attachments(&self, id: &MessageId) -> Result<Vec<AttachmentInfo>, GmailError> {
        let most = self.caller.config.limits.bytes / 3 * 4 + (256 << 10);
        let call = Call::get("attachments", format!("messages/{id}?format=full")).at_most(most);
        let body: wire::MessageBody = self.caller.json(call).await?;
        Ok(body
            .payload
            .map(|payload| payload.attachments(self.caller.config.limits.attachments))
            .unwrap_or_default())
    }

    /// The bytes of an attachment, of [`GmailConfig::max_attachment`] at the most.
    pub async fn attachment(&self, message: &MessageId, id: &AttachmentId) -> Result<Bytes, GmailError> {
        const OPERATION: &str = "attachment";
        let most = self.caller.config.max_attachment;
        let path = format!("messages/{message}/attachments/{id}");
        let call = Call::get(OPERATION, path).at_most(most / 3 * 4 + (16 << 10));
        let body: wire::AttachmentBody = self.caller.json(call).await?;
        let bytes = push::decode(&body.data).ok_or_else(|| {
            GmailError::new(OPERATION, GmailErrorKind::Unreadable, "the attachment is not base64")
        })?;
        if bytes.len() > most {
            return Err(GmailError::new(OPERATION, GmailErrorKind::TooLarge, ""));
        }
        Ok(bytes.into())
    }

    /// Sends a mail. It is not sent again where it may have gone out: for that there is
    /// [`Gmail::send_once`].
    pub async fn send(&self, draft: &MailDraft) -> Result<MessageRef, GmailError> {
        let id = message_id(draft, &format!("{:016x}{:016x}", random(), random()));
        self.send_as(draft, &id).await
    }

    /// Sends a mail, or finds that it was sent: however often it is called with the same key, for
    /// as long as the mail is not deleted, it goes out once. For a job that is tried again after
    /// its worker died. Two calls at the same time may both send, and so may one that comes before
    /// Gmail's search knows of the mail, some seconds after the first.
    pub async fn send_once(&self, draft: &MailDraft, key: &str) -> Result<MessageRef, GmailError> {
        let digest = Sha256::digest(key.as_bytes());
        let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let id = message_id(draft, &name);
        let found =
            self.search(&Search::new(format!("in:anywhere rfc822msgid:{id}")).with_most(1), None).await?;
        match found.messages.into_iter().next() {
            Some(sent) => Ok(sent),
            None => self.send_as(draft, &id).await,
        }
    }

    /// Answers a mail in its conversation. `own` is the address of this mailbox.
    pub async fn reply(
        &self,
        mail: &Mail,
        text: &str,
        whom: ReplyTo,
        own: &str,
    ) -> Result<MessageRef, GmailError> {
        self.send(&mail.reply(text, whom, own)).await
    }

    /// Takes messages out of the inbox.
    pub async fn archive(&self, ids: &[MessageId]) -> Result<(), GmailError> {
        self.relabel("archive", ids, &[], &[LabelId::inbox()]).await
    }

    /// Puts labels on messages and takes others off, by their names. A name that is put on and not
    /// there yet becomes a label; one that is taken off and not there is nothing to do.
    pub async fn label(&self, ids: &[MessageId], add: &[&str], remove: &[&str]) -> Result<(), GmailError> {
        let known = self.labels().await?;
        let find = |name: &str| {
            known.iter().find(|label| label.name.eq_ignore_ascii_case(name)).map(|label| label.id.clone())
        };
        let mut added = Vec::new();
        for name in add {
            added.push(match find(name) {
                Some(id) => id,
                None => self.create_label(name).await?.id,
            });
        }
        let removed: Vec<LabelId> = remove.iter().filter_map(|name| find(name)).collect();
        if added.is_empty() && removed.is_empty() {
            return Ok(());
        }
        self.relabel("label", ids, &added, &removed).await
    }

    /// All labels.
    pub async fn labels(&self) -> Result<Vec<Label>, GmailError> {
        let body: wire::LabelsBody = self.caller.json(Call::get("labels", "labels")).await?;
        Ok(body.labels.into_iter().map(Into::into).collect())
    }

    /// Makes a label.
    pub async fn create_label(&self, name: &str) -> Result<Label, GmailError> {
        const OPERATION: &str = "create label";
        if name.trim().is_empty() || name.len() > 225 || name.chars().any(char::is_control) {
            return Err(GmailError::new(
                OPERATION,
                GmailErrorKind::Rejected,
                "a label has 1 to 225 printable bytes",
            ));
        }
        let asked =
            json!({ "name": name, "labelListVisibility": "labelShow", "messageListVisibility": "show" });
        let body: wire::LabelBody = self.caller.json(Call::post(OPERATION, "labels", &asked).once()).await?;
        Ok(body.into())
    }

    /// One request for one message or for a thousand.
    async fn relabel(
        &self,
        operation: &'static str,
        ids: &[MessageId],
        add: &[LabelId],
        remove: &[LabelId],
    ) -> Result<(), GmailError> {
        bounded(operation, ids)?;
        let mut change = json!({ "addLabelIds": add, "removeLabelIds": remove });
        let path = match ids {
            [] => return Ok(()),
            [id] => format!("messages/{id}/modify"),
            ids => {
                change["ids"] = json!(ids);
                "messages/batchModify".to_owned()
            }
        };
        self.caller.bytes(Call::post(operation, path, &change)).await.map(|_| ())
    }

    async fn send_as(&self, draft: &MailDraft, message_id: &str) -> Result<MessageRef, GmailError> {
        const OPERATION: &str = "send";
        let raw = draft.compose(self.clock.now(), message_id).map_err(|error| {
            GmailError::new(OPERATION, GmailErrorKind::Rejected, "the draft can't become a mail")
                .caused_by(error.into())
        })?;
        if raw.len() > self.caller.config.max_sent {
            return Err(GmailError::new(OPERATION, GmailErrorKind::TooLarge, ""));
        }
        let mut asked = json!({ "raw": URL_SAFE.encode(&raw) });
        if let Some(thread) = draft.thread() {
            asked["threadId"] = json!(thread);
        }
        let body: wire::SentBody =
            self.caller.json(Call::post(OPERATION, "messages/send", &asked).once()).await?;
        Ok(MessageRef { id: body.id, thread: body.thread_id })
    }
}

impl fmt::Debug for Gmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gmail").field("config", &self.caller.config).finish_non_exhaustive()
    }
}

/// The headers that a summary needs.
const SUMMARY: &str = "format=metadata&metadataHeaders=From&metadataHeaders=Subject";

fn named(body: wire::RefBody) -> MessageRef {
    MessageRef { id: body.id, thread: body.thread_id }
}

impl From<wire::LabelBody> for Label {
    fn from(body: wire::LabelBody) -> Self {
        Self { id: body.id, name: body.name }
    }
}

fn bounded(operation: &'static str, ids: &[MessageId]) -> Result<(), GmailError> {
    if ids.len() > Gmail::MAX_BATCH {
        return Err(GmailError::new(operation, GmailErrorKind::Rejected, "more than 1000 messages at once"));
    }
    Ok(())
}

/// The id of a mail, at the domain of its sender.
fn message_id(draft: &MailDraft, name: &str) -> String {
    let domain =
        draft.sender().and_then(|sender| sender.address().rsplit_once('@')).map(|(_, domain)| domain);
    let domain = domain.filter(|domain| domain.is_ascii()).unwrap_or("gmail.com");
    format!("livos-{name}@{domain}")
}
