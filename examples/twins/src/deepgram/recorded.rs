//! `POST /v1/listen`: a recording that comes whole, and its transcript.

use std::{process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tokio::process::Command;
use uuid::Uuid;

use super::{
    Deepgram, error,
    hearing::Recogniser,
    listen::{MODEL_UUID, alternative, model_info},
    query::{Listen, Query},
};
use crate::{
    connection::Connection,
    serve::{self, Body},
    tones::Word,
};

/// The largest recording, in bytes. The provider takes 2 GB; who sends voice notes has no use for
/// that.
const MAX_BODY: usize = 20 << 20;
/// The longest recording, in seconds.
const LONGEST: f64 = 600.0;
/// Decodes Ogg with Opus.
const DECODER: &str = "opusdec";
/// Ten minutes take a second.
const DECODE_WITHIN: Duration = Duration::from_secs(20);
/// A root mean square below this, over [`LOUDNESS_OF`], is silence.
const AUDIBLE: f64 = 500.0;
/// Seconds over which loudness is looked at.
const LOUDNESS_OF: f64 = 0.020;
/// The provider's words for what it cannot decode.
const UNREADABLE: &str = "Bad Request: failed to process audio: corrupt or unsupported data";

/// Samples of one channel.
struct Sound {
    samples: Vec<i16>,
    rate: u32,
}

pub(super) async fn answer(
    twin: &Deepgram,
    request: Request<Incoming>,
    connection: &Arc<Connection>,
    request_id: Uuid,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    if !twin.admits(&head.headers) {
        return error(request_id, StatusCode::UNAUTHORIZED, "INVALID_AUTH", "Invalid credentials.");
    }
    if head.uri.path() != "/v1/listen" {
        return error(request_id, StatusCode::NOT_FOUND, "NOT_FOUND", "Not found.");
    }
    let asked = match Query::parse(head.uri.query().unwrap_or_default()).listen() {
        Ok(asked) => asked,
        Err(invalid) => {
            return error(request_id, StatusCode::BAD_REQUEST, "INVALID_QUERY_PARAMETER", &invalid);
        }
    };
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        let message = "The recording is too large.";
        return error(request_id, StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message);
    };
    let Some(sound) = decode(body.to_bytes()).await.filter(|sound| sound.seconds() <= LONGEST) else {
        return error(request_id, StatusCode::BAD_REQUEST, "Bad Request", UNREADABLE);
    };
    let Some(meter) = twin.stream(request_id, "POST /v1/listen") else {
        let message = "Too many requests. Please try again later";
        return error(request_id, StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", message);
    };
    meter.audio(sound.seconds());
    let mut random = connection.random();
    let words = sound.words(twin).await;
    tokio::time::sleep(twin.0.host.latency().final_after_speech.sample(&mut random)).await;
    let transcript =
        transcript(&asked, request_id, &sound, alternative(&words, asked.punctuate, &mut random));
    serve::json(StatusCode::OK, &transcript)
}

fn transcript(
    asked: &Listen,
    request_id: Uuid,
    sound: &Sound,
    alternative: serde_json::Value,
) -> serde_json::Value {
    json!({
        "metadata": {
            "transaction_key": "deprecated",
            "request_id": request_id.to_string(),
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "created": "2026-11-22T22:37:55.202Z",
            "duration": sound.seconds(),
            "channels": 1,
            "models": [MODEL_UUID],
            "model_info": {MODEL_UUID: model_info(&asked.model)},
        },
        "results": {"channels": [{"alternatives": [alternative]}]},
    })
}

impl Sound {
    fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }

    fn is_silent(&self) -> bool {
        let block = ((f64::from(self.rate) * LOUDNESS_OF) as usize).max(1);
        self.samples.chunks(block).all(|block| {
            let power: f64 = block.iter().map(|sample| f64::from(*sample).powi(2)).sum();
            (power / block.len() as f64).sqrt() < AUDIBLE
        })
    }

    async fn words(&self, twin: &Deepgram) -> Vec<Word> {
        if self.is_silent() {
            return Vec::new();
        }
        let mut recogniser = Recogniser::new(&twin.0.ears, self.rate);
        recogniser.begin(0.0, &[], 0.0, false);
        recogniser.hear(&self.samples, self.seconds(), true);
        // A word ends with the silence after it, which a recording may lack.
        recogniser.hear(&vec![0; self.rate as usize / 10], self.seconds(), false);
        recogniser.finish(self.seconds()).await
    }
}

async fn decode(bytes: Bytes) -> Option<Sound> {
    if bytes.starts_with(b"OggS") {
        return match decode_ogg(&bytes).await {
            Ok(wave) => read_wave(&wave),
            Err(error) => {
                tracing::warn!(%error, "{DECODER} could not be run (apt-get install opus-tools)");
                None
            }
        };
    }
    read_wave(&bytes)
}

async fn decode_ogg(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let (coded, plain) = (folder.path().join("coded.ogg"), folder.path().join("plain.wav"));
    // A moment's work: both files stay in memory.
    std::fs::write(&coded, bytes)?;
    let decoding = Command::new(DECODER)
        .args(["--quiet", "--force-wav", "--rate", "16000"])
        .args([&coded, &plain])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    tokio::time::timeout(DECODE_WITHIN, decoding).await??;
    // What is no Opus leaves an empty file or none, which is no sound.
    Ok(std::fs::read(&plain).unwrap_or_default())
}

/// The first channel of a WAV file with 16-bit samples.
fn read_wave(bytes: &[u8]) -> Option<Sound> {
    let mut rest = bytes.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
    let mut format = None;
    loop {
        let (name, length) = (rest.get(..4)?, u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?) as usize);
        rest = rest.get(8..)?;
        // A file that is written while it is made has no length yet: the rest is the sound.
        let content = &rest[..length.min(rest.len())];
        if name == b"fmt " {
            let number = |at: usize| Some(u16::from_le_bytes(content.get(at..at + 2)?.try_into().ok()?));
            let rate = u32::from_le_bytes(content.get(4..8)?.try_into().ok()?);
            format = Some((number(2)?, rate)).filter(|(channels, _)| *channels > 0);
            if number(14)? != 16 || !(8_000..=192_000).contains(&rate) {
                return None;
            }
        } else if name == b"data" {
            let (channels, rate) = format?;
            let (samples, _) = content.as_chunks::<2>();
            let first = samples.iter().step_by(usize::from(channels));
            return Some(Sound { samples: first.copied().map(i16::from_le_bytes).collect(), rate })
                .filter(|sound| !sound.samples.is_empty());
        }
        rest = rest.get(length + length % 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use serde_json::Value;

    use super::*;
    use crate::{
        deepgram::{Config, Hearing},
        serve::Twin as _,
        tones,
    };

    const PATH: &str = "/v1/listen?model=nova-3&language=en&smart_format=true&mip_opt_out=true";

    async fn post(twin: &Deepgram, path: &str, key: &str, body: impl Into<Bytes>) -> (u16, Value) {
        let (mut sender, connection) = http1::handshake(TokioIo::new(twin.connect())).await.unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::post(path).header("host", "twin").header("authorization", key);
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        assert!(response.headers().contains_key("dg-request-id"));
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        driver.await.unwrap().unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn wave(samples: &[i16], rate: u32, channels: u16) -> Vec<u8> {
        let data: Vec<u8> = samples
            .iter()
            .flat_map(|sample| std::iter::repeat_n(sample.to_le_bytes(), usize::from(channels)).flatten())
            .collect();
        let mut wave = [&b"RIFF\0\0\0\0WAVE"[..], b"LIST", &3u32.to_le_bytes(), b"odd\0", b"fmt "].concat();
        wave.extend(16u32.to_le_bytes());
        wave.extend([1, channels].map(u16::to_le_bytes).as_flattened());
        wave.extend([rate, rate * 2 * u32::from(channels)].map(u32::to_le_bytes).as_flattened());
        wave.extend([2 * channels, 16].map(u16::to_le_bytes).as_flattened());
        wave.extend(b"data");
        wave.extend((data.len() as u32).to_le_bytes());
        wave.extend(data);
        wave
    }

    fn spoken(answer: &Value) -> &str {
        answer["results"]["channels"][0]["alternatives"][0]["transcript"].as_str().unwrap()
    }

    #[tokio::test]
    async fn a_recording_is_answered_with_its_words_and_billed_by_its_length() {
        let twin = Deepgram::new(Config::default());
        let samples = tones::encode("Hello there, old twin.", 24_000);
        let (status, answer) = post(&twin, PATH, "Token key", wave(&samples, 24_000, 2)).await;
        assert_eq!((status, spoken(&answer)), (200, "hello there, old twin."));
        let words = &answer["results"]["channels"][0]["alternatives"][0]["words"];
        assert_eq!((&words[1]["word"], &words[1]["punctuated_word"]), (&json!("there"), &json!("there,")));
        let length = samples.len() as f64 / 24_000.0;
        assert!((answer["metadata"]["duration"].as_f64().unwrap() - length).abs() < 1e-9);
        let stats = twin.stats();
        assert!((stats.billed_audio_seconds - length).abs() < 1e-9);
        assert_eq!((stats.streams[0].route, stats.open_streams), ("POST /v1/listen", 0));
    }

    #[tokio::test]
    async fn silence_has_no_words_and_takes_none_from_a_script() {
        let script = Hearing::Script(vec!["Good morning.".into()]);
        let twin = Deepgram::new(Config { hearing: script, ..Config::default() });
        let (status, answer) = post(&twin, PATH, "Token key", wave(&[0; 16_000], 16_000, 1)).await;
        assert_eq!((status, spoken(&answer)), (200, ""));
        let speech = tones::encode("anything", 16_000);
        assert_eq!(
            spoken(&post(&twin, PATH, "Token key", wave(&speech, 16_000, 1)).await.1),
            "Good morning."
        );
    }

    #[tokio::test]
    async fn what_is_no_sound_no_key_and_no_question_is_refused() {
        let twin = Deepgram::new(Config { api_key: Some("right".into()), ..Config::default() });
        let whole = wave(&tones::encode("hello", 16_000), 16_000, 1);
        for damaged in [&b""[..], b"OggS and no more", b"ID3", &whole[..30], &wave(&[1], 1_000, 1)] {
            let (status, answer) = post(&twin, PATH, "Token right", damaged.to_vec()).await;
            assert_eq!((status, &answer["err_msg"]), (400, &json!(UNREADABLE)), "{damaged:?}");
        }
        let (status, answer) = post(&twin, PATH, "Token wrong", whole.clone()).await;
        assert_eq!((status, &answer["err_code"]), (401, &json!("INVALID_AUTH")));
        let (status, answer) = post(&twin, "/v1/listen?model=flux-general-en", "Token right", whole).await;
        assert_eq!((status, &answer["err_code"]), (400, &json!("INVALID_QUERY_PARAMETER")));
        assert_eq!(twin.stats().billed_audio_seconds, 0.0);
    }

    // In real time, because the decoder is another process.
    #[tokio::test]
    async fn opus_in_ogg_is_decoded_as_phones_send_it() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, coded) = (folder.path().join("plain.wav"), folder.path().join("coded.ogg"));
        std::fs::write(&plain, wave(&tones::encode("hello again", 16_000), 16_000, 1)).unwrap();
        // To a codec for speech, letter tones are music.
        let mut encoder = std::process::Command::new("opusenc");
        let made = encoder.args(["--quiet", "--music", "--bitrate", "96"]).args([&plain, &coded]).status();
        if !made.as_ref().is_ok_and(std::process::ExitStatus::success) {
            println!("not tested, because opus-tools are missing: {made:?}");
            assert_ne!(std::env::var("LIVOS_REQUIRE_SPEECH").as_deref(), Ok("1"), "{made:?}");
            return;
        }
        let twin = Deepgram::new(Config::default());
        let (status, answer) = post(&twin, PATH, "Token key", std::fs::read(&coded).unwrap()).await;
        assert_eq!((status, spoken(&answer)), (200, "hello again"));
    }
}
