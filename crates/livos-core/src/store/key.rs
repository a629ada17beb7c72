//! Keys: `livos:{feature}:{entity}:{id}`, each of a family with a lifetime.
//!
//! The platform that LivOS replaces filled its Redis with keys that nothing ever removed (I-03).
//! Here a key can't be made without a lifetime or a written reason to live forever.

use std::{fmt, time::Duration};

/// How long a value lives after it was last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// This long after the last write.
    For(Duration),
    /// Until it is removed.
    Forever {
        /// Why it has no expiry, for the table of families.
        reason: &'static str,
    },
}

/// How reads and writes behave while the server that holds the keys is away (P-20). A file is never
/// away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Away {
    /// How reads behave meanwhile.
    pub reads: AwayReads,
    /// How writes behave meanwhile.
    pub writes: AwayWrites,
}

impl Away {
    /// Reads fail and writes are retried: for values that must be right. The default of a family.
    pub const FAIL: Self = Self { reads: AwayReads::Fail, writes: AwayWrites::Insist };
}

/// How reads behave while the server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AwayReads {
    /// They fail with the server's error.
    Fail,
    /// They answer what this process last read or wrote, up to this age; if it is older, they fail.
    LastKnown(Duration),
    /// They answer that there is nothing.
    Nothing,
}

/// How writes behave while the server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AwayWrites {
    /// They are tried three more times, a second apart, and then fail.
    Insist,
    /// They are dropped and counted in a metric.
    Drop,
}

/// Keys of one kind, with a common prefix and lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    feature: &'static str,
    entity: &'static str,
    lifetime: Lifetime,
    purpose: &'static str,
    away: Away,
}

impl Family {
    /// `feature` and `entity` are of `a-z`, `0-9`, `-` and `_`, and `purpose` is a phrase for the
    /// table of families. Anything else does not compile in a constant.
    pub const fn new(
        feature: &'static str,
        entity: &'static str,
        lifetime: Lifetime,
        purpose: &'static str,
    ) -> Self {
        assert!(is_name(feature.as_bytes()), "a feature is of a-z, 0-9, - and _");
        assert!(is_name(entity.as_bytes()), "an entity is of a-z, 0-9, - and _");
        match lifetime {
            Lifetime::For(time) => assert!(!time.is_zero(), "a lifetime is not zero"),
            Lifetime::Forever { reason } => assert!(!reason.is_empty(), "what lives forever says why"),
        }
        Self { feature, entity, lifetime, purpose, away: Away::FAIL }
    }

    /// The same family with another rule for when the server is away.
    #[must_use]
    pub const fn while_away(mut self, reads: AwayReads, writes: AwayWrites) -> Self {
        self.away = Away { reads, writes };
        self
    }

    /// The key of `id` in this family: of 1 to [`Key::MAX_ID`] bytes, without control characters.
    pub fn key(&self, id: &str) -> Result<Key, InvalidKey> {
        if id.is_empty() || id.len() > Key::MAX_ID || id.chars().any(char::is_control) {
            return Err(InvalidKey);
        }
        Ok(Key { text: format!("{}{id}", self.prefix()), lifetime: self.lifetime, away: self.away })
    }

    /// The prefix of all its keys.
    pub fn prefix(&self) -> String {
        format!("{}:{}:{}:", Key::NAMESPACE, self.feature, self.entity)
    }

    /// How long its values live.
    pub const fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// The families as a table for the documentation.
    pub fn table(families: &[Self]) -> String {
        let mut table = String::from(
            "| keys | for | lifetime | reads while Redis is away | writes |\n| --- | --- | --- | --- | --- |\n",
        );
        for family in families {
            let lifetime = match family.lifetime {
                Lifetime::For(time) => humane(time),
                Lifetime::Forever { reason } => format!("forever: {reason}"),
            };
            let reads = match family.away.reads {
                AwayReads::Fail => "fail".to_owned(),
                AwayReads::LastKnown(time) => format!("the last known, up to {} old", humane(time)),
                AwayReads::Nothing => "find nothing".to_owned(),
            };
            let writes = match family.away.writes {
                AwayWrites::Insist => "are tried three more times, then fail",
                AwayWrites::Drop => "are dropped and counted",
            };
            let (prefix, purpose) = (family.prefix(), family.purpose);
            table.push_str(&format!("| `{prefix}{{id}}` | {purpose} | {lifetime} | {reads} | {writes} |\n"));
        }
        table
    }
}

const fn is_name(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

fn humane(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        _ if seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// A key with the lifetime of its family.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    text: String,
    lifetime: Lifetime,
    away: Away,
}

impl Key {
    /// The prefix of every key.
    pub const NAMESPACE: &'static str = "livos";
    /// The longest id, in bytes.
    pub const MAX_ID: usize = 512;

    /// How long a value under it lives.
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// The same key with another lifetime, to rewrite a value without extending its life.
    #[must_use]
    pub(crate) fn living(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// How reads and writes of it behave while the server is away.
    pub fn away(&self) -> Away {
        self.away
    }

    /// The key as it is stored, with its prefix.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::hash::Hash for Lifetime {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::For(time) => time.hash(state),
            Self::Forever { reason } => reason.hash(state),
        }
    }
}

/// The id is empty, too long, or has control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id of a key has 1 to {} bytes and no control characters", Key::MAX_ID)]
pub struct InvalidKey;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Family =
        Family::new("usage", "day", Lifetime::For(Duration::from_secs(172_800)), "counters of a UTC day");
    const OWNER: Family = Family::new(
        "pairing",
        "owner",
        Lifetime::Forever { reason: "the owner stays" },
        "who owns the server",
    );

    #[test]
    fn a_key_has_its_feature_its_entity_and_its_lifetime() {
        let key = DAY.key("anna/2026-11-24").unwrap();
        assert_eq!(key.as_str(), "livos:usage:day:anna/2026-11-24");
        assert_eq!(key.lifetime(), Lifetime::For(Duration::from_secs(172_800)));
    }

    #[test]
    fn an_id_that_could_be_mistaken_is_refused() {
        for id in ["", "a\nb", "a\0b", &"x".repeat(513)] {
            assert_eq!(DAY.key(id), Err(InvalidKey), "{id:?}");
        }
    }

    #[test]
    fn families_print_as_a_table() {
        let last = OWNER.while_away(AwayReads::LastKnown(Duration::from_secs(300)), AwayWrites::Drop);
        let table = Family::table(&[DAY, last]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `livos:usage:day:{id}` | counters of a UTC day | 2 d | fail | are tried three more times, then fail |",
                "| `livos:pairing:owner:{id}` | who owns the server | forever: the owner stays | the last known, up to 5 min old \
                 | are dropped and counted |",
            ]
        );
    }
}
