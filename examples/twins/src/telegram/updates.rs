//! Updates that wait for being read, and the one long poll that may wait for them.

use std::{collections::VecDeque, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    Telegram,
    failure::{Answer, Failure},
    params::Params,
};
use crate::{connection::lock, random::Random};

pub(super) const OTHER_POLL: &str =
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
const WEBHOOK_POLL: &str = "Conflict: terminated by setWebhook request";
const WEBHOOK_SET: &str = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";

/// How long an update is kept.
const KEPT: Duration = Duration::from_secs(86_400);
/// After so long without one, ids begin anywhere.
const SILENT: Duration = Duration::from_secs(7 * 86_400);
/// The longest long poll.
const LONGEST: i64 = 50;
/// An offset further ahead than this is from the future, and not believed.
const FUTURE: i64 = 10;

/// An update that waits.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) id: i64,
    pub(super) update: Value,
    pub(super) at: Instant,
}

#[derive(Debug)]
pub(super) struct Updates {
    random: Random,
    pub(super) queue: VecDeque<Pending>,
    next: i64,
    last: Option<Instant>,
    /// `allowed_updates`, as set last; none for the default.
    allowed: Option<Vec<String>>,
    /// The number of the poll that may wait; each new one ends the one before.
    pub(super) poll: u64,
    /// Why the one before was ended.
    pub(super) ended_by: &'static str,
    previous: Option<(i64, Instant)>,
    next_conflict: Option<Instant>,
}

impl Updates {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::derive(seed, "update ids", 0);
        let next = start(&mut random);
        Self {
            random,
            queue: VecDeque::new(),
            next,
            last: None,
            allowed: None,
            poll: 0,
            ended_by: OTHER_POLL,
            previous: None,
            next_conflict: None,
        }
    }

    pub(super) fn push(&mut self, now: Instant, update: &mut Value) -> i64 {
        if self.last.is_some_and(|last| now - last >= SILENT) {
            self.next = start(&mut self.random);
        }
        (self.last, self.next) = (Some(now), self.next + 1);
        let id = self.next - 1;
        update["update_id"] = json!(id);
        if self.allows(update) {
            self.queue.push_back(Pending { id, update: update.clone(), at: now });
        }
        id
    }

    fn allows(&self, update: &Value) -> bool {
        const SILENT_BY_DEFAULT: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];
        let mut kinds = update
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys())
            .filter(|name| *name != "update_id");
        match &self.allowed {
            Some(allowed) => kinds.any(|kind| allowed.contains(kind)),
            None => !kinds.any(|kind| SILENT_BY_DEFAULT.contains(&kind.as_str())),
        }
    }

    /// An empty list is the default; none keeps what was set.
    pub(super) fn allow(&mut self, params: &Params) {
        if let Some(Value::Array(list)) = params.json("allowed_updates") {
            let names: Vec<String> =
                list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
            self.allowed = (!names.is_empty()).then_some(names);
        }
    }

    pub(super) fn pending(&mut self, now: Instant) -> usize {
        self.queue.retain(|pending| now - pending.at < KEPT);
        self.queue.len()
    }

    /// Confirms what is below the offset, and answers what comes from it on.
    fn read(&mut self, now: Instant, offset: i64, limit: usize) -> Vec<Value> {
        self.pending(now);
        if offset < 0 {
            let last = usize::try_from(-offset).unwrap_or(usize::MAX);
            self.queue.drain(..self.queue.len().saturating_sub(last));
        } else if offset <= self.next + FUTURE {
            self.queue.retain(|pending| pending.id >= offset);
        }
        self.queue.iter().take(limit).map(|pending| pending.update.clone()).collect()
    }

    /// How long the answer to a conflict waits.
    fn conflict(&mut self, now: Instant) -> Duration {
        const CONFLICTS: Duration = Duration::from_secs(3);
        if self.next_conflict.is_none_or(|next| now >= next) {
            self.next_conflict = Some(now + CONFLICTS);
            return Duration::ZERO;
        }
        CONFLICTS
    }
}

fn start(random: &mut Random) -> i64 {
    100_000_000 + i64::try_from(random.below(800_000_000)).unwrap_or(0)
}

impl Telegram {
    pub(super) async fn get_updates(&self, params: &Params) -> Answer {
        let now = Instant::now();
        let mut changed = self.0.changed.subscribe();
        let (offset, limit, timeout) = match self.begin_poll(now, params) {
            Ok(poll) => poll,
            Err(wait) => {
                sleep(wait).await;
                return Err(Failure::new(409, WEBHOOK_SET));
            }
        };
        let deadline = now + Duration::from_secs(timeout.unsigned_abs());
        let poll = {
            let updates = &mut lock(&self.0.state).updates;
            let found = updates.read(now, offset, limit);
            if !found.is_empty() || timeout == 0 {
                return Ok(found.into());
            }
            updates.poll += 1;
            updates.ended_by = OTHER_POLL;
            updates.poll
        };
        // Wakes the requests that wait for an update.
        self.wake();
        loop {
            let over = timeout_at(deadline, changed.changed()).await.is_err();
            let ended = {
                let updates = &mut lock(&self.0.state).updates;
                if updates.poll == poll {
                    let found = updates.read(Instant::now(), offset, limit);
                    if over || !found.is_empty() {
                        return Ok(found.into());
                    }
                    None
                } else {
                    Some((updates.ended_by, updates.conflict(Instant::now())))
                }
            };
            if let Some((why, wait)) = ended {
                sleep_until(Instant::now() + wait).await;
                return Err(Failure::new(409, why));
            }
        }
    }

    /// Offset, limit and timeout of a poll; or, while a webhook is set, how long the refusal waits.
    fn begin_poll(&self, now: Instant, params: &Params) -> Result<(i64, usize, i64), Duration> {
        let offset = params.number("offset").unwrap_or(0);
        let mut limit = params.number("limit").filter(|limit| (1..=100).contains(limit)).unwrap_or(100);
        let mut timeout = params.number("timeout").unwrap_or(0).clamp(0, LONGEST);
        let mut state = lock(&self.0.state);
        if state.webhook.is_set() {
            return Err(state.updates.conflict(now));
        }
        let updates = &mut state.updates;
        updates.allow(params);
        let since = updates.previous.filter(|(known, _)| *known == offset).map(|(_, at)| now - at);
        if let Some(since) = since.filter(|_| self.0.config.slows_polls) {
            if timeout < 3 && since < Duration::from_secs(3) {
                timeout = 3;
            }
            if since < Duration::from_millis(500) {
                limit = 1;
            }
        }
        updates.previous = Some((offset, now));
        Ok((offset, usize::try_from(limit).unwrap_or(1), timeout))
    }

    /// Ends the long poll that waits, because a webhook was set.
    pub(super) fn end_poll(&self) {
        let updates = &mut lock(&self.0.state).updates;
        updates.poll += 1;
        updates.ended_by = WEBHOOK_POLL;
    }
}
