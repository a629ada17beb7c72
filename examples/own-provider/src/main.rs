//! A voice server with providers of its own: it hears loudness, answers what it heard, and speaks
//! in beeps. A provider is two channels and a future.
//!
//! Run `cargo run -p own-provider`, then connect any client of the protocol in
//! `livos_voice::transport::protocol` to `ws://127.0.0.1:8765`.

use std::{f32::consts::TAU, sync::Arc, time::Duration};

use livos_core::{
    conversation::{ConversationId, Inbound, Reply, ReplyError, Speaker},
    user::UserId,
};
use livos_voice::{
    audio::{AudioFormat, Frame},
    pipeline::{SessionConfig, VoiceSession},
    stt::{Driver, SpeechToText, SttCommand, SttEvent, SttSession, Transcript, TranscriptKind},
    transport::websocket::{self, WebSocketTransport},
    tts::{SpokenWord, TextToSpeech, TtsCommand, TtsEvent, TtsSession},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
};

/// Tells how much of what it hears is loud.
struct Loudness;

impl SpeechToText for Loudness {
    fn open(&self) -> (SttSession, Driver) {
        let ((commands, inbox), (outbox, events)) = (mpsc::channel(64), mpsc::channel(64));
        (SttSession { commands, events }, Box::pin(hear(inbox, outbox)))
    }
}

async fn hear(mut commands: mpsc::Receiver<SttCommand>, events: mpsc::Sender<SttEvent>) {
    let (mut loud, mut start, mut end) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    while let Some(command) = commands.recv().await {
        match command {
            SttCommand::Audio(frame) => {
                end += frame.duration();
                if frame.iter().any(|sample| sample.unsigned_abs() > 1000) {
                    loud += frame.duration();
                }
            }
            SttCommand::EndOfSpeech => {
                let text = format!("{} milliseconds of sound.", loud.as_millis());
                let heard = Transcript::new(TranscriptKind::Final, text, start, end);
                (loud, start) = (Duration::ZERO, end);
                let _ = events.send(SttEvent::Transcript(heard)).await;
                let _ = events.send(SttEvent::Finalized).await;
            }
            _ => return,
        }
    }
}

/// Says each word as a beep of 200 ms.
struct Beeps;

impl TextToSpeech for Beeps {
    fn open(&self) -> (TtsSession, Driver) {
        let ((commands, inbox), (outbox, events)) = (mpsc::channel(64), mpsc::channel(64));
        (TtsSession { commands, events }, Box::pin(speak(inbox, outbox)))
    }
}

async fn speak(mut commands: mpsc::Receiver<TtsCommand>, events: mpsc::Sender<TtsEvent>) {
    let length = Duration::from_millis(200);
    let tone = |n: u16| ((f32::from(n) * 440.0 * TAU / 24_000.0).sin() * 8000.0) as i16;
    let beep = Frame::from_samples(AudioFormat::VOICE, (0..4800).map(tone));
    let (mut start, mut speaking) = (Duration::ZERO, None);
    while let Some(command) = commands.recv().await {
        match command {
            TtsCommand::Speak { generation, text } => {
                if speaking.replace(generation) != Some(generation) {
                    start = Duration::ZERO;
                }
                for text in text.split_whitespace() {
                    let words = vec![SpokenWord { text: text.to_owned(), start, end: start + length }];
                    start += length;
                    let _ = events.send(TtsEvent::Audio { generation, frame: beep.clone() }).await;
                    let _ = events.send(TtsEvent::Words { generation, words }).await;
                }
            }
            TtsCommand::Finish(generation) => {
                let _ = events.send(TtsEvent::Done(generation)).await;
            }
            TtsCommand::Cancel(_) => {}
            _ => return,
        }
    }
}

async fn answer(inbound: Inbound) -> Result<Reply, ReplyError> {
    Ok(Reply::from_text(format!("You said: {}", inbound.text)))
}

/// Serves one client over any byte stream.
async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send, conversation: ConversationId) {
    let socket = tokio_tungstenite::accept_async_with_config(io, Some(websocket::config())).await;
    let Ok(socket) = socket else { return };
    let config = SessionConfig::new(conversation, Speaker::Owner, UserId::owner());
    let session = VoiceSession::new(Arc::new(Loudness), Arc::new(Beeps), tower::service_fn(answer), config);
    session.run(WebSocketTransport::new(socket)).await;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:8765").await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(serve(stream, ConversationId::try_from(format!("beeps:{}", peer.port()).as_str())?));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_heard_is_said_back() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(serve(far, ConversationId::try_from("test").unwrap()));
        let (mut client, _) = tokio_tungstenite::client_async("ws://localhost/", near).await.unwrap();
        let hello = r#"{"type":"hello","version":1,"input_rate":16000,"output_rate":24000}"#;
        client.send(Message::text(hello)).await.unwrap();
        client.send(Message::text(r#"{"type":"press","at_ms":0}"#)).await.unwrap();
        let loud: Vec<u8> = (0..4800).flat_map(|_| 8000i16.to_le_bytes()).collect();
        client.send(Message::binary(loud)).await.unwrap();
        client.send(Message::text(r#"{"type":"release","at_ms":300}"#)).await.unwrap();
        let mut audio = 0;
        loop {
            match client.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => audio += bytes.len(),
                Message::Text(text) if text.contains("reply_end") => {
                    assert!(text.contains("You said: 300 milliseconds of sound."), "{text}");
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(audio, AudioFormat::VOICE.bytes_in(Duration::from_millis(200)) * 6);
        client.send(Message::text(r#"{"type":"bye"}"#)).await.unwrap();
        while client.next().await.is_some_and(|message| message.is_ok()) {}
        server.await.unwrap();
    }
}
