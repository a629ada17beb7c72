//! The mailbox: mails, labels, threads, and the history of their changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::mail;
use crate::random::Random;

/// A mail in the mailbox.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub id: String,
    pub thread: String,
    pub labels: BTreeSet<String>,
    pub history_id: u64,
    pub internal_ms: i64,
    /// The order of arrival.
    pub number: u64,
    pub raw: Bytes,
}

/// What happened to a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Deleted,
    LabelsAdded(Vec<String>),
    LabelsRemoved(Vec<String>),
}

/// One record of the history.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub id: u64,
    pub at_ms: i64,
    pub message: String,
    pub thread: String,
    /// The labels of the mail, after what happened.
    pub labels: Vec<String>,
    pub change: Change,
}

/// A watch.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub topic: String,
    /// All labels where none is named.
    pub labels: Vec<String>,
    /// Whether changes of these labels are told, or of all others.
    pub include: bool,
    pub expires_ms: i64,
}

impl Watch {
    pub fn tells(&self, record: &Record, now_ms: i64) -> bool {
        let named = record.labels.iter().any(|label| self.labels.contains(label));
        self.expires_ms > now_ms && (self.labels.is_empty() || named == self.include)
    }
}

#[derive(Debug)]
pub(super) struct Mailbox {
    pub address: String,
    pub messages: BTreeMap<String, Message>,
    /// Labels of the user: id and name.
    pub labels: Vec<(String, String)>,
    pub history: VecDeque<Record>,
    pub history_id: u64,
    /// The least start that is still known.
    pub oldest: u64,
    pub watch: Option<Watch>,
    /// Attachment ids that were given out: message and part.
    pub attachments: BTreeMap<String, (String, String)>,
    random: Random,
    arrived: u64,
}

/// The labels that every mailbox has.
pub(super) const SYSTEM: [&str; 9] =
    ["INBOX", "UNREAD", "SENT", "DRAFT", "SPAM", "TRASH", "STARRED", "IMPORTANT", "CATEGORY_PERSONAL"];

impl Mailbox {
    pub fn new(address: String, seed: u64) -> Self {
        Self {
            address,
            messages: BTreeMap::new(),
            labels: Vec::new(),
            history: VecDeque::new(),
            history_id: 1000,
            oldest: 0,
            watch: None,
            attachments: BTreeMap::new(),
            random: Random::derive(seed, "mailbox", 0),
            arrived: 0,
        }
    }

    /// Takes a mail in; answers its id. It joins `thread` where its headers allow, else that of a
    /// mail it names, else a new one.
    pub fn take_in(&mut self, raw: Bytes, thread: Option<&str>, labels: &[&str], now_ms: i64) -> String {
        self.arrived += 1;
        let id = format!("{:08x}{:08x}", self.arrived + 0x18c0_0000, self.random.below(1 << 32));
        let thread = self.thread_of(&raw, thread).unwrap_or_else(|| id.clone());
        let message = Message {
            id: id.clone(),
            thread,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            history_id: 0,
            internal_ms: now_ms,
            number: self.arrived,
            raw,
        };
        self.messages.insert(id.clone(), message);
        self.record(&id, Change::Added, now_ms);
        id
    }

    /// The thread that these headers belong to, of `wanted` only where it is named.
    fn thread_of(&self, raw: &[u8], wanted: Option<&str>) -> Option<String> {
        let mail = mail::Part::parse(raw);
        let named = [mail.header("References"), mail.header("In-Reply-To")];
        let named: Vec<&str> = named.into_iter().flatten().flat_map(str::split_whitespace).collect();
        let subject = bare_subject(mail.header("Subject").unwrap_or_default());
        let belongs = |message: &&Message| {
            let known = mail::Part::parse(&message.raw);
            let id = known.header("Message-ID").unwrap_or_default();
            let same = bare_subject(known.header("Subject").unwrap_or_default()) == subject;
            wanted.is_none_or(|wanted| wanted == message.thread) && named.contains(&id.trim()) && same
        };
        if named.is_empty() {
            return None;
        }
        self.messages.values().find(belongs).map(|message| message.thread.clone())
    }

    pub fn delete(&mut self, id: &str, now_ms: i64) -> bool {
        if !self.messages.contains_key(id) {
            return false;
        }
        self.record(id, Change::Deleted, now_ms);
        self.messages.remove(id);
        true
    }

    /// Puts labels on and takes labels off; none where the mail is not there.
    pub fn modify(&mut self, id: &str, add: &[String], remove: &[String], now_ms: i64) -> Option<()> {
        let labels = &mut self.messages.get_mut(id)?.labels;
        let added: Vec<String> =
            add.iter().filter(|label| labels.insert((*label).clone())).cloned().collect();
        let removed: Vec<String> = remove.iter().filter(|label| labels.remove(*label)).cloned().collect();
        for (changed, change) in [
            (!added.is_empty(), Change::LabelsAdded(added)),
            (!removed.is_empty(), Change::LabelsRemoved(removed)),
        ] {
            if changed {
                self.record(id, change, now_ms);
            }
        }
        Some(())
    }

    fn record(&mut self, id: &str, change: Change, now_ms: i64) {
        self.history_id += 1 + self.random.below(20);
        let Some(message) = self.messages.get_mut(id) else { return };
        message.history_id = self.history_id;
        let labels = message.labels.iter().cloned().collect();
        let (message, thread) = (message.id.clone(), message.thread.clone());
        self.history.push_back(Record {
            id: self.history_id,
            at_ms: now_ms,
            message,
            thread,
            labels,
            change,
        });
    }

    /// Forgets history that is older than this.
    pub fn expire_history(&mut self, before_ms: i64) {
        while self.history.front().is_some_and(|record| record.at_ms < before_ms) {
            if let Some(record) = self.history.pop_front() {
                self.oldest = record.id;
            }
        }
    }

    pub fn forget_history(&mut self) {
        self.history.clear();
        // Even a start at the last record is too old then.
        self.history_id += 1;
        self.oldest = self.history_id;
    }

    pub fn knows_label(&self, id: &str) -> bool {
        SYSTEM.contains(&id) || self.labels.iter().any(|(known, _)| known == id)
    }

    /// A new label of the user; none where one has that name.
    pub fn create_label(&mut self, name: &str) -> Option<String> {
        let taken = SYSTEM.iter().any(|known| known.eq_ignore_ascii_case(name))
            || self.labels.iter().any(|(_, known)| known.eq_ignore_ascii_case(name));
        if taken {
            return None;
        }
        let id = format!("Label_{}", self.labels.len() + 1);
        self.labels.push((id.clone(), name.to_owned()));
        Some(id)
    }

    pub fn labels_of(&self, id: &str) -> Vec<String> {
        self.messages.get(id).map(|message| message.labels.iter().cloned().collect()).unwrap_or_default()
    }

    pub fn sent(&self) -> Vec<(String, String, Bytes)> {
        let mut sent: Vec<&Message> =
            self.messages.values().filter(|message| message.labels.contains("SENT")).collect();
        sent.sort_by_key(|message| message.number);
        sent.into_iter()
            .map(|message| (message.id.clone(), message.thread.clone(), message.raw.clone()))
            .collect()
    }

    /// A new id for an attachment of a message.
    pub fn attachment_id(&mut self, message: &str, part: &str) -> String {
        const KEPT: usize = 10_000;
        let id = format!("ANGjdJ{:016x}{:016x}", self.random.below(u64::MAX), self.random.below(u64::MAX));
        if self.attachments.len() >= KEPT {
            self.attachments.pop_first();
        }
        self.attachments.insert(id.clone(), (message.to_owned(), part.to_owned()));
        id
    }
}

/// A subject without the marks of answers and forwards.
fn bare_subject(subject: &str) -> String {
    let mut rest = subject.trim();
    while let Some(cut) = ["re:", "fwd:", "fw:"].iter().find_map(|mark| {
        rest.get(..mark.len())
            .filter(|start| start.eq_ignore_ascii_case(mark))
            .and_then(|_| rest.get(mark.len()..))
    }) {
        rest = cut.trim_start();
    }
    rest.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
