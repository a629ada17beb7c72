//! Asks a model one question and prints the answer as it comes:
//! `ANTHROPIC_API_KEY=… cargo run -p livos-agent --example ask -- how deep is the sea`.
//! `ANTHROPIC_BASE_URL` names another server.

use std::io::Write;

use futures_util::StreamExt;
use livos_agent::{
    Agent, AgentConfig,
    model::anthropic::{Anthropic, AnthropicConfig},
};
use livos_core::{
    conversation::{Channel, ConversationId, Heard, Inbound, ReplyEvent, Speaker},
    secret::Secret,
    user::UserId,
};
use tower::ServiceExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = std::env::var("ANTHROPIC_API_KEY").map_err(|_| "set ANTHROPIC_API_KEY")?;
    let mut config = AnthropicConfig::new(Secret::new(key));
    if let Ok(base) = std::env::var("ANTHROPIC_BASE_URL") {
        config.base_url = base.parse()?;
    }
    let agent = Agent::new(Anthropic::over_tls(config)?, AgentConfig::default());

    let question = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let conversation = ConversationId::try_from("ask")?;
    let inbound = Inbound::new(conversation, Channel::Chat, Speaker::Owner, UserId::owner(), question);
    let mut reply = agent.oneshot(inbound).await?;
    reply.commit();
    let (mut shown, mut out) = (String::new(), std::io::stdout());
    while let Some(event) = reply.next().await {
        if let ReplyEvent::Text(text) = event? {
            write!(out, "{text}")?;
            out.flush()?;
            shown.push_str(&text);
        }
    }
    writeln!(out)?;
    reply.heard(Heard { text: shown, complete: true });
    Ok(())
}
