//! The agent over its model.

use livos_agent::{
    Agent, AgentConfig,
    model::{
        Metered, MeteredConfig,
        anthropic::{Anthropic, AnthropicConfig},
    },
    tokens,
};
use tower::{BoxError, ServiceExt};

use super::{
    config::AnthropicSection,
    endpoint::{Endpoint, set},
    responder::Responder,
};
use crate::accounts::Accounts;

/// The agent over the configured model, metered by the accounts.
pub fn responder(
    config: &AnthropicSection,
    endpoint: &Endpoint,
    accounts: &Accounts,
) -> Result<Responder, BoxError> {
    let mut client = AnthropicConfig::new(endpoint.key.clone());
    client.base_url = endpoint.url.clone();
    set(&mut client.model, config.model.clone());
    set(&mut client.max_tokens, config.max_tokens);
    set(&mut client.system, config.system.clone());
    set(&mut client.first_event_timeout, config.first_event_timeout);
    set(&mut client.idle_timeout, config.idle_timeout);
    let metered = metered(&client, accounts);
    let model = Metered::new(Anthropic::over_tls(client)?, accounts.usage.clone(), metered);
    let agent = Agent::new(model, AgentConfig::default());
    Ok(Responder::new(agent.map_err(|error| error)))
}

/// How answers of this model are counted.
fn metered(client: &AnthropicConfig, accounts: &Accounts) -> MeteredConfig {
    let mut config = MeteredConfig::new(u64::from(client.max_tokens));
    config.overhead = tokens::estimate(&client.system) + tokens::estimate(&client.voice_style);
    config.price = accounts.prices.model(&client.model);
    config
}
