//! An agent as a tower `Service`, in the terminal: a message goes in, and the answer streams out.
//!
//! `cargo run -p hello-agent` talks to a simulated model; with `ANTHROPIC_API_KEY` set, to the real
//! one. Each line that you type is a message, and the agent remembers the conversation.

use std::io::{self, BufRead, Write};

use futures_util::StreamExt;
use livos_agent::{
    Agent, AgentConfig,
    model::anthropic::{Anthropic, AnthropicConfig},
};
use livos_core::{
    conversation::{Channel, ConversationId, Heard, Inbound, Reply, ReplyError, ReplyEvent, Speaker},
    secret::Secret,
    user::UserId,
};
use livos_twins::{anthropic, serve};
use tower::{BoxError, Service, ServiceExt};

/// The agent: one model behind a service. Any tower layer can go around it.
fn app(
    model: AnthropicConfig,
) -> Result<impl Service<Inbound, Response = Reply, Error = ReplyError>, BoxError> {
    Ok(Agent::new(Anthropic::over_tls(model)?, AgentConfig::default()))
}

/// Asks one question and writes the answer while it arrives.
async fn ask<S>(agent: &mut S, question: &str, out: &mut impl Write) -> Result<(), BoxError>
where
    S: Service<Inbound, Response = Reply, Error = ReplyError>,
{
    let conversation = ConversationId::try_from("terminal")?;
    let (speaker, payer) = (Speaker::Owner, UserId::owner());
    let inbound = Inbound::new(conversation, Channel::Chat, speaker, payer, question);
    let mut reply = agent.ready().await?.call(inbound).await?;
    // Until it is committed, a reply can be dropped and leaves nothing in the history.
    reply.commit();
    let mut shown = String::new();
    while let Some(event) = reply.next().await {
        if let ReplyEvent::Text(text) = event? {
            write!(out, "{text}")?;
            out.flush()?;
            shown.push_str(&text);
        }
    }
    writeln!(out)?;
    // The history keeps what was shown: less than what was generated after an interruption.
    reply.heard(Heard { text: shown, complete: true });
    Ok(())
}

/// A simulated model on a port of its own.
async fn simulated() -> Result<AnthropicConfig, BoxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut config = AnthropicConfig::new(Secret::new("any key"));
    config.base_url = format!("http://{}", listener.local_addr()?).parse()?;
    let twin = anthropic::Anthropic::new(anthropic::Config::default());
    tokio::spawn(serve::listen(listener, twin, std::future::pending()));
    Ok(config)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let config = match std::env::var("ANTHROPIC_API_KEY") {
        Ok(key) => AnthropicConfig::new(Secret::new(key)),
        Err(_) => simulated().await?,
    };
    let mut agent = app(config)?;
    for line in io::stdin().lock().lines() {
        ask(&mut agent, &line?, &mut io::stdout()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_question_is_answered_once() {
        let mut agent = app(simulated().await.unwrap()).unwrap();
        let mut shown = Vec::new();
        ask(&mut agent, "what is two plus three", &mut shown).await.unwrap();
        ask(&mut agent, "what did I say", &mut shown).await.unwrap();
        let shown = String::from_utf8(shown).unwrap();
        let answers: Vec<&str> = shown.lines().collect();
        assert!(answers[0].starts_with("That makes five."), "{answers:?}");
        assert_eq!(answers.len(), 2, "{answers:?}");
    }
}
