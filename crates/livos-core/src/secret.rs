//! A secret whose `Debug` prints nothing, so that no log, error or panic message can hold it by
//! accident.

use std::fmt;

use secrecy::{ExposeSecret, SecretSlice, SecretString, zeroize::Zeroize};
use serde::{Deserialize, Deserializer};

/// A key, token or password. Its memory is wiped when it is dropped. There is no `Display`,
/// `Serialize` or `PartialEq`: it leaves only through [`Secret::expose`], which is easy to search
/// for, and comparison must be done in constant time by the caller.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text. Put it into a header or a key derivation, never into a log.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// A text of somebody else's, such as the error of a server that repeats what it was asked
    /// with, with `…` in place of this secret. A text of less than eight bytes is no secret: it
    /// would take letters out of words.
    pub fn redact(&self, text: &str) -> String {
        const SHORTEST: usize = 8;
        let secret = self.expose();
        if secret.len() < SHORTEST { text.to_owned() } else { text.replace(secret, "…") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // The text of a wrong type would stand in the error of a derived implementation; this one
        // names the type only.
        String::deserialize(from)
            .map(Self::new)
            .map_err(|_| serde::de::Error::custom("a secret must be a string"))
    }
}

/// Bytes that are as secret as a [`Secret`]: no `Debug`, no `Serialize`, wiped when they are
/// dropped.
#[derive(Clone)]
pub struct SecretBytes(SecretSlice<u8>);

impl SecretBytes {
    /// The bytes. The same care applies as with [`Secret::expose`].
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// As a text; none where it is not UTF-8.
    pub fn to_text(&self) -> Option<Secret> {
        std::str::from_utf8(self.expose()).ok().map(Secret::new)
    }
}

impl From<Vec<u8>> for SecretBytes {
    /// Takes the bytes over, and wipes where they lay.
    fn from(mut bytes: Vec<u8>) -> Self {
        if bytes.len() == bytes.capacity() {
            return Self(SecretSlice::from(bytes.into_boxed_slice()));
        }
        let own = Box::<[u8]>::from(bytes.as_slice());
        bytes.zeroize();
        Self(SecretSlice::from(own))
    }
}

impl From<Secret> for SecretBytes {
    fn from(secret: Secret) -> Self {
        Self::from(secret.expose().as_bytes().to_vec())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new("sk-ant-12345");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(…) Some(Secret(…))");
        assert_eq!(secret.expose(), "sk-ant-12345");
    }

    #[test]
    fn a_text_that_repeats_it_is_shown_without_it() {
        let secret = Secret::new("sk-ant-12345");
        assert_eq!(secret.redact("no sk-ant-12345, sk-ant-12345!"), "no …, …!");
        assert_eq!(secret.redact("no key"), "no key");
        for short in ["", "o", "no key"] {
            assert_eq!(Secret::new(short).redact("no key"), "no key");
        }
    }

    #[test]
    fn a_wrong_type_is_refused_without_its_value() {
        let error = toml::from_str::<std::collections::BTreeMap<String, Secret>>("key = 987654").unwrap_err();
        assert!(error.message().contains("a secret must be a string") && !error.message().contains("987654"));
    }

    /// What a program logs, as text and as JSON.
    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_log_holds_a_secret_by_accident() {
        #[derive(Debug)]
        struct Settings {
            #[expect(dead_code, reason = "it is logged")]
            token: Secret,
            #[expect(dead_code, reason = "it is logged")]
            key: Option<SecretBytes>,
        }
        let (text, json) = (Log::default(), Log::default());
        let (to_text, to_json) = (text.clone(), json.clone());
        let plain = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to_text.clone()).finish();
        let structured = tracing_subscriber::fmt().json().with_writer(move || to_json.clone()).finish();
        let log = || {
            let token = Secret::new("sk-hunter2");
            let settings = Settings { token: token.clone(), key: Some(SecretBytes::from(token.clone())) };
            let _span = tracing::info_span!("request", ?token).entered();
            tracing::info!(?token, ?settings, "a secret {token:?} in {settings:#?}");
        };
        tracing::subscriber::with_default(plain, log);
        tracing::subscriber::with_default(structured, log);
        for log in [text, json] {
            let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            assert!(said.matches("Secret(…)").count() >= 3, "{said}");
            assert!(!said.contains("hunter2") && !said.contains("115, 107"), "{said}");
        }
    }
}
