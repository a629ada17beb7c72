//! The configuration file, parsed once, from which each feature takes its own sections.
//!
//! A misspelt key is an error that names the nearest known one: a setting that is silently ignored
//! is found months later. Errors name the line and never show it, because the line may hold a key.

use std::{collections::BTreeMap, ops::Range, path::Path};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{environment::Environment, error::ConfigError};

/// One section of the file, such as `[server]`. The defaults are what an absent section means.
pub trait Section: DeserializeOwned + Default {
    /// Its key at the top level of the file.
    const NAME: &'static str;

    /// Applies environment variables, which override the file.
    fn apply(&mut self, _: Environment<'_>) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Refuses values that can't work. Looks at nothing outside the section.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// The parsed file and the environment.
pub struct Document<'d> {
    text: &'d str,
    file: String,
    values: BTreeMap<String, Spanned<DeValue<'d>>>,
    lines: BTreeMap<String, usize>,
    environment: Environment<'d>,
    known: Vec<&'static str>,
}

impl<'d> Document<'d> {
    /// Parses the text of a file, which errors name. An empty text is valid: every section has
    /// defaults.
    pub fn parse(
        text: &'d str,
        file: Option<&Path>,
        environment: Environment<'d>,
    ) -> Result<Self, ConfigError> {
        let file = file.map(|file| format!("{}: ", file.display())).unwrap_or_default();
        let table = DeTable::parse(text).map_err(|error| explain(&file, text, &error, 0))?;
        let (mut values, mut lines) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in table.into_inner() {
            let at = key.span();
            let name = key.into_inner().into_owned();
            lines.insert(name.clone(), line(text, at));
            values.insert(name, value);
        }
        Ok(Self { text, file, values, lines, environment, known: Vec::new() })
    }

    /// The variables that override the file.
    pub fn environment(&self) -> Environment<'d> {
        self.environment
    }

    /// Reads, overrides and validates one section. It may be read more than once.
    pub fn section<S: Section>(&mut self) -> Result<S, ConfigError> {
        if !self.known.contains(&S::NAME) {
            self.known.push(S::NAME);
        }
        let mut section = match self.values.get(S::NAME) {
            None => S::default(),
            Some(value) => {
                let at = value.span().start;
                S::deserialize(ValueDeserializer::from(value.clone()))
                    .map_err(|error| explain(&self.file, self.text, &error, at))?
            }
        };
        section.apply(self.environment)?;
        section.validate()?;
        Ok(section)
    }

    /// Refuses sections that no feature has read.
    pub fn finish(self) -> Result<(), ConfigError> {
        match self.values.keys().find(|name| !self.known.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) => {
                let line = self.lines.get(unknown).copied().unwrap_or(1);
                Err(ConfigError(format!("{}line {line}: {}", self.file, nearest(unknown, &self.known))))
            }
        }
    }
}

/// The line number at the start of a span.
fn line(text: &str, span: Range<usize>) -> usize {
    1 + text[..span.start.min(text.len())].matches('\n').count()
}

/// The error with its line. Serde lists all the fields it knows; a person wants the nearest.
fn explain(file: &str, text: &str, error: &toml::de::Error, otherwise: usize) -> ConfigError {
    let line = line(text, error.span().unwrap_or(otherwise..otherwise));
    let mut quoted = error.message().split('`').skip(1).step_by(2);
    let why = match quoted.next() {
        Some(unknown) if error.message().starts_with("unknown field") => {
            nearest(unknown, &quoted.collect::<Vec<_>>())
        }
        _ => error.message().to_owned(),
    };
    ConfigError(format!("{file}line {line}: {why}"))
}

fn nearest(unknown: &str, known: &[&str]) -> String {
    let likeness = |name: &&&str| strsim::jaro_winkler(name, unknown);
    match known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(nearest) => format!(
            "unknown key `{unknown}`; the nearest known one is `{nearest}` (known here: {})",
            known.join(", ")
        ),
        None => format!("unknown key `{unknown}`"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use livos_core::secret::Secret;
    use serde::Deserialize;

    use super::*;
    use crate::config::optional_duration;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Oven {
        api_key: Option<Secret>,
        #[serde(deserialize_with = "optional_duration")]
        bake_for: Option<Duration>,
        recipe: Option<String>,
    }

    impl Section for Oven {
        const NAME: &'static str = "oven";

        fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
            environment.text(&mut self.recipe, "RECIPE");
            Ok(())
        }

        fn validate(&self) -> Result<(), ConfigError> {
            match &self.recipe {
                Some(recipe) if recipe == "stones" => Err(ConfigError::of("oven.recipe", "can't be eaten")),
                _ => Ok(()),
            }
        }
    }

    fn read(text: &str, recipe: Option<&str>) -> Result<Oven, String> {
        let lookup = |name: &str| recipe.filter(|_| name == "RECIPE").map(str::to_owned);
        let read = || {
            let mut document = Document::parse(text, None, Environment::new(&lookup))?;
            let oven = document.section::<Oven>()?;
            document.finish().map(|()| oven)
        };
        read().map_err(|error: ConfigError| error.to_string())
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one_and_without_its_value() {
        let error = read("[oven]\napi_kye = \"sk-secret\"\n", None).unwrap_err();
        assert!(
            error.starts_with("line 2: unknown key `api_kye`; the nearest known one is `api_key`"),
            "{error}"
        );
        assert!(!error.contains("sk-secret"));
        let error = read("[oven]\n\n[ofen]\n", None).unwrap_err();
        assert!(error.starts_with("line 3: unknown key `ofen`; the nearest known one is `oven`"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_shown() {
        let error = read("[oven]\napi_key = 123456\n", None).unwrap_err();
        assert!(error.starts_with("line 2:") && !error.contains("123456"), "{error}");
        let error = read("[oven]\nbake_for = \"soon\"\n", None).unwrap_err();
        assert!(error.starts_with("line 2: a duration is a number"), "{error}");
        let error = read("oven = 5\n", None).unwrap_err();
        assert!(error.starts_with("line 1:"), "{error}");
    }

    #[test]
    fn the_environment_overrides_the_file_and_is_validated_too() {
        let text = "[oven]\nrecipe = \"bread\"\n";
        assert_eq!(read(text, None).unwrap().recipe.as_deref(), Some("bread"));
        assert_eq!(read(text, Some("")).unwrap().recipe.as_deref(), Some("bread"), "empty is unset");
        assert_eq!(read(text, Some("cake")).unwrap().recipe.as_deref(), Some("cake"));
        assert_eq!(read("", Some("stones")).unwrap_err(), "oven.recipe: can't be eaten");
    }
}
