//! A model for tests that says what it is told to, behind the feature `test-util`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt, stream};
use livos_core::conversation::{Finish, ReplyError, ReplyErrorKind};

use crate::model::{Model, ModelEvent, ModelRequest, ModelStream};

/// The events of one answer.
pub type Script = Vec<Result<ModelEvent, ReplyError>>;

/// Answers each request with the next script, and keeps the requests. A clone shares both. A
/// request beyond the last script is refused.
///
/// ```
/// use livos_agent::{Agent, AgentConfig, testing::ScriptedModel};
/// use livos_core::{conversation::*, user::UserId};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = ScriptedModel::saying(["Eleven kilometres at the deepest."]);
/// let agent = Agent::new(model.clone(), AgentConfig::default());
/// let id = ConversationId::try_from("test")?;
/// let question = Inbound::new(id, Channel::Chat, Speaker::Owner, UserId::owner(), "How deep is the sea?");
/// let mut reply = agent.oneshot(question).await?;
/// let first = futures_util::StreamExt::next(&mut reply).await.unwrap()?;
/// assert_eq!(first, ReplyEvent::Text("Eleven kilometres at the deepest.".into()));
/// assert_eq!(model.requests()[0].messages[0].text, "How deep is the sea?");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ScriptedModel {
    scripts: Arc<Mutex<VecDeque<Script>>>,
    requests: Arc<Mutex<Vec<ModelRequest>>>,
    stays_open: bool,
}

impl ScriptedModel {
    /// A model that plays these scripts, one for each request.
    pub fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        let scripts = scripts.into_iter().collect::<VecDeque<_>>();
        Self { scripts: Arc::new(Mutex::new(scripts)), ..Self::default() }
    }

    /// A model that gives these answers, each in one piece.
    pub fn saying<T: Into<String>>(answers: impl IntoIterator<Item = T>) -> Self {
        Self::new(
            answers.into_iter().map(|text| {
                vec![Ok(ModelEvent::Text(text.into())), Ok(ModelEvent::Finished(Finish::Complete))]
            }),
        )
    }

    /// The same model, whose streams stay open after their script, as a connection does.
    #[must_use]
    pub fn staying_open(mut self) -> Self {
        self.stays_open = true;
        self
    }

    /// What it was asked so far, oldest first.
    pub fn requests(&self) -> Vec<ModelRequest> {
        lock(&self.requests).clone()
    }
}

impl Model for ScriptedModel {
    fn answer(&self, request: ModelRequest) -> ModelStream {
        lock(&self.requests).push(request);
        let over = || ReplyError::new(ReplyErrorKind::Rejected, "the script has no further answer");
        let script = lock(&self.scripts).pop_front().unwrap_or_else(|| vec![Err(over())]);
        let script = stream::iter(script);
        match self.stays_open {
            true => Box::pin(script.chain(stream::pending())),
            false => Box::pin(script),
        }
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
