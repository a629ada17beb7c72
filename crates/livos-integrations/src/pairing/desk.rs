//! Where pairing meets the store: one value under one key, so that each decision is one atomic step
//! for all processes.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use livos_core::{
    machine::Machine,
    secret::Secret,
    store::{Family, InvalidKey, Lifetime, Put, Store, StoreError},
    time::Timestamp,
};

use super::{
    ChannelName, InvalidPairingConfig, Pairing, PairingConfig, PairingInput, PairingOutput, PairingState,
    Rights, code::ENTROPY,
};

/// The keys of this module.
pub const FAMILIES: [Family; 1] = [Family::new(
    "pairing",
    "state",
    Lifetime::Forever { reason: "a paired device stays until it is revoked" },
    "paired devices, codes that wait, and guesses",
)];

/// How often a decision is made again because another process wrote first. 16: more than the
/// processes of one server that write at the same time.
const MAX_TRIES: usize = 16;

/// Pairing over a store that may be shared. Cloning shares it.
#[derive(Clone)]
pub struct PairingDesk {
    store: Arc<dyn Store>,
    key: Secret,
    config: PairingConfig,
}

impl fmt::Debug for PairingDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingDesk").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Pairing could not decide. Nothing was changed, and nobody was let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// The store failed.
    #[error("the store of paired devices failed")]
    Store(#[from] StoreError),
    /// The stored state can't be read. It is left as it is: only the operator may start over.
    #[error(
        "what is stored of paired devices is damaged; restore it from a backup, or remove the key to pair again"
    )]
    Damaged(#[source] serde_json::Error),
    /// Other processes were quicker, again and again.
    #[error("too many processes change the paired devices at once")]
    Contended,
    /// The operating system gave no randomness for a code.
    #[error("the operating system gave no randomness for a code")]
    Random,
}

impl PairingDesk {
    /// `key` makes the stored hashes of codes useless without it: at least 16 characters, kept
    /// apart from the store.
    pub fn new(
        store: Arc<dyn Store>,
        key: Secret,
        config: PairingConfig,
    ) -> Result<Self, InvalidPairingConfig> {
        config.check()?;
        if key.expose().trim().len() < 16 {
            return Err(InvalidPairingConfig::KEY);
        }
        Ok(Self { store, key, config })
    }

    /// Issues a code for a sender on `channel`.
    pub async fn issue(
        &self,
        now: Timestamp,
        channel: ChannelName,
        rights: Rights,
    ) -> Result<Vec<PairingOutput>, DeskError> {
        let mut entropy = [0; ENTROPY];
        getrandom::fill(&mut entropy).map_err(|_| DeskError::Random)?;
        self.apply(now, PairingInput::Issue { channel, rights, entropy }).await
    }

    /// Decides, stores, and then answers what is to be done; [`PairingOutput::Persist`] is done
    /// already. A future that is dropped may have stored.
    pub async fn apply(&self, now: Timestamp, input: PairingInput) -> Result<Vec<PairingOutput>, DeskError> {
        let key = FAMILIES[0].key("all").map_err(|InvalidKey| DeskError::Contended)?;
        for _ in 0..MAX_TRIES {
            let (state, version) = self.load(now).await?;
            let mut pairing = Pairing::new(self.config, self.key.clone(), state);
            pairing.handle_input(now, input.clone());
            let mut outputs: Vec<_> = std::iter::from_fn(|| pairing.poll_output()).collect();
            let changed = outputs.iter().any(|output| matches!(output, PairingOutput::Persist(_)));
            outputs.retain(|output| !matches!(output, PairingOutput::Persist(_)));
            if !changed {
                return Ok(outputs);
            }
            let value = serde_json::to_vec(pairing.state()).map_err(DeskError::Damaged)?;
            match self.store.put_if(now, &key, Bytes::from(value), version).await? {
                Put::Written(_) => return Ok(outputs),
                Put::Conflict(_) => {}
            }
        }
        Err(DeskError::Contended)
    }

    /// Who is paired, for [`super::Policy::decide`] and for people.
    pub async fn state(&self, now: Timestamp) -> Result<PairingState, DeskError> {
        Ok(self.load(now).await?.0)
    }

    async fn load(&self, now: Timestamp) -> Result<(PairingState, Option<u64>), DeskError> {
        let key = FAMILIES[0].key("all").map_err(|InvalidKey| DeskError::Contended)?;
        let Some(entry) = self.store.get(now, &key).await? else { return Ok(Default::default()) };
        let state = serde_json::from_slice(&entry.value).map_err(DeskError::Damaged)?;
        Ok((state, Some(entry.version)))
    }
}

#[cfg(test)]
mod tests {
    use livos_core::{
        embedded::{Embedded, EmbeddedConfig},
        store::EmbeddedStore,
    };

    use super::*;
    use crate::pairing::{PairingCode, Refusal, Sender};

    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

    fn store() -> Arc<dyn Store> {
        Arc::new(EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap()))
    }

    fn desk(store: &Arc<dyn Store>) -> PairingDesk {
        let key = Secret::new("a key of the server");
        PairingDesk::new(Arc::clone(store), key, PairingConfig::default()).unwrap()
    }

    fn telegram() -> ChannelName {
        "telegram".try_into().unwrap()
    }

    fn redeem(who: &str, code: &str) -> PairingInput {
        let sender = Sender::new(telegram(), who).unwrap();
        let code = PairingCode::parse(code).unwrap();
        PairingInput::Redeem { sender, label: who.to_owned(), code }
    }

    async fn issued(desk: &PairingDesk) -> String {
        match desk.issue(NOW, telegram(), Rights::Paired).await.unwrap().as_slice() {
            [PairingOutput::Issued { code, .. }] => code.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_code_is_for_one_of_many_who_present_it_at_once_to_several_processes() {
        let store = store();
        let code = issued(&desk(&store)).await;
        let tries = (0..8).map(|n| {
            let (desk, code) = (desk(&store), code.clone());
            tokio::spawn(async move { desk.apply(NOW, redeem(&format!("sender{n}"), &code)).await.unwrap() })
        });
        let mut paired = 0;
        for task in tries.collect::<Vec<_>>() {
            paired += usize::from(matches!(task.await.unwrap()[0], PairingOutput::Paired(_)));
        }
        assert_eq!(paired, 1);
        assert_eq!(desk(&store).state(NOW).await.unwrap().devices().len(), 1);
    }

    #[tokio::test]
    async fn no_code_is_in_the_store() {
        let store = store();
        let code = issued(&desk(&store)).await.replace('-', "");
        let entry = store.get(NOW, &FAMILIES[0].key("all").unwrap()).await.unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&entry.value).contains(&code));
    }

    #[tokio::test]
    async fn guesses_of_one_sender_count_wherever_they_are_made() {
        let store = store();
        for n in 0..5 {
            let outputs = desk(&store).apply(NOW, redeem("mallory", "ZZZZZZZZ")).await.unwrap();
            assert_eq!(outputs, [PairingOutput::Refused(Refusal::Wrong { left: 4 - n })]);
        }
        let outputs = desk(&store).apply(NOW, redeem("mallory", "ZZZZZZZZ")).await.unwrap();
        assert!(matches!(outputs[0], PairingOutput::Refused(Refusal::Locked { .. })));
    }

    #[tokio::test]
    async fn what_is_damaged_lets_nobody_in_and_is_left_as_it_is() {
        let store = store();
        let key = FAMILIES[0].key("all").unwrap();
        store.put(NOW, &key, Bytes::from_static(b"{")).await.unwrap();
        assert!(matches!(desk(&store).state(NOW).await, Err(DeskError::Damaged(_))));
        let issued = desk(&store).issue(NOW, telegram(), Rights::Owner).await;
        assert!(matches!(issued, Err(DeskError::Damaged(_))));
        assert_eq!(store.get(NOW, &key).await.unwrap().unwrap().value, "{");
    }

    #[test]
    fn a_key_that_anybody_could_guess_is_refused() {
        for key in ["", "short", "                    "] {
            assert!(PairingDesk::new(store(), Secret::new(key), PairingConfig::default()).is_err());
        }
    }
}
