//! What the configured models cost.

use livos_core::usage::{ModelPrice, Prices, VoicePrice};

/// The models of the providers, as they are configured.
#[derive(Debug, Clone)]
pub struct Models {
    pub answers: String,
    /// The model of live speech to text.
    pub hears: String,
    /// The model of text to speech.
    pub speaks: String,
}

/// Prices, and the models that they are for.
#[derive(Debug, Clone)]
pub struct PriceList {
    prices: Prices,
    models: Models,
}

impl PriceList {
    /// The list prices, with `configured` ones in their place or in addition.
    pub fn new(configured: Prices, models: Models) -> Self {
        let mut prices = Prices::default();
        prices.extend(configured);
        Self { prices, models }
    }

    /// The price of a language model, if it is known.
    pub fn model(&self, model: &str) -> Option<ModelPrice> {
        self.prices.model(model)
    }

    /// The price of a conversation by voice.
    pub fn voice(&self) -> VoicePrice {
        self.hearing(&self.models.hears)
    }

    /// The price of speech to text by this model.
    pub fn hearing(&self, model: &str) -> VoicePrice {
        self.prices.voice(model, &self.models.speaks)
    }

    /// The configured models whose price is unknown.
    pub fn unpriced(&self) -> Vec<&str> {
        let (models, voice) = (&self.models, self.voice());
        let all = [
            (&models.answers, self.prices.model(&models.answers).is_some()),
            (&models.hears, voice.hour.is_some()),
            (&models.speaks, voice.million_characters.is_some()),
        ];
        all.into_iter().filter(|(_, is_priced)| !is_priced).map(|(model, _)| model.as_str()).collect()
    }
}
