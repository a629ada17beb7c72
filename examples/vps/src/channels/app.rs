//! What a chat app must do to be a channel.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use livos_core::{
    conversation::Inbound,
    drain::DrainSignal,
    queue::{Job, JobKind, Outcome},
};
use livos_integrations::{
    pairing::{ChannelName, Policy},
    sender::Outlet,
};
use tower::BoxError;

use super::notes::VoiceNote;
use crate::{durable::Durable, feature::Task};

/// The description of `/help` in the list of commands.
pub const ABOUT_HELP: &str = "What I can do";

/// Something that somebody wrote, on its way to a decision.
pub struct Said {
    /// The same for every attempt of the job, and for no other one.
    pub name: String,
    /// Who, by the provider's id.
    pub sender: String,
    /// What the sender calls itself.
    pub label: String,
    /// In which group, by the provider's id.
    pub group: Option<String>,
    /// Whether it mentions the agent or answers it.
    pub mentioned: bool,
    /// The text, in its conversation; the speaker is not decided yet.
    pub inbound: Inbound,
    /// Whether it is a command that asks what the agent can do.
    pub asks_for_help: bool,
    /// What was said in a voice note besides.
    pub note: Option<VoiceNote>,
    /// Where an answer goes.
    pub outlet: Box<dyn Outlet>,
}

/// A chat app with a bot in it.
pub trait ChatApp: Send + Sync {
    /// Its name in pairings, in the log and in metrics.
    fn name(&self) -> &'static str;
    /// The kind of its jobs.
    fn kind(&self) -> JobKind;
    /// Whom it lets in.
    fn policy(&self) -> &Policy;
    /// The task that enqueues what people write, until the drain. `holder` is this process's name
    /// among those that share the queue.
    fn listen(&self, durable: &Durable, holder: &str, drain: &DrainSignal) -> Result<Task, BoxError>;
    /// Makes its commands known where people type a slash; answers whether others were known.
    fn register(&self) -> BoxFuture<'static, Result<bool, NotRegistered>>;
    /// What was said in a job; nothing where nobody said anything to be answered. The error is what
    /// becomes of the job.
    fn read<'a>(&'a self, lease: &'a Job) -> BoxFuture<'a, Result<Option<Said>, Outcome>>;
    /// The private chat with somebody, for news.
    fn reach<'a>(&'a self, sender: &'a str) -> BoxFuture<'a, Result<Box<dyn Outlet>, BoxError>>;
}

/// Why an app's commands are not known.
pub struct NotRegistered {
    pub error: BoxError,
    /// Whether it may pass.
    pub is_temporary: bool,
    /// How long the provider asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl NotRegistered {
    /// It will not pass.
    pub fn for_good(error: BoxError) -> Self {
        Self { error, is_temporary: false, retry_after: None }
    }
}

/// The apps by their names in pairings.
pub type Apps = BTreeMap<ChannelName, Arc<dyn ChatApp>>;
