//! Recordings by `POST /v1/listen`: one request on a connection of its own.
//!
//! Voice notes are rare next to live speech, and a connection that is kept between them would be
//! closed by then.

use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{
    HeaderValue, Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use livos_core::{http::ResponseBody, secret::Secret};
use serde::Deserialize;
use tower::{Service, ServiceExt};

use super::{
    config::{Config, ConfigError, RecordedConfig},
    wire,
};
use crate::{
    connect::Connector,
    line::{excerpt, retry_after, secrets_of},
    stt::{
        Transcript, TranscriptKind, Word,
        recording::{Recording, TranscribeError, Transcriber},
    },
};

/// The largest answer that is read, in bytes. 8 MiB: the words of several hours.
const MAX_ANSWER: usize = 8 << 20;

/// Deepgram's recogniser of recordings. A clone is the same client.
#[derive(Clone)]
pub struct Recorded {
    /// The request without its body.
    request: Arc<Request<()>>,
    config: Arc<RecordedConfig>,
    connector: Connector,
}

impl Recorded {
    /// A client that connects by `connector`. What cannot work is refused here.
    pub fn new(config: &Config, recorded: RecordedConfig, connector: Connector) -> Result<Self, ConfigError> {
        let request = Arc::new(config.recorded_request(&recorded)?);
        Ok(Self { request, config: Arc::new(recorded), connector })
    }

    async fn ask(&self, recording: Recording) -> Result<Transcript, TranscribeError> {
        let mut connector = self.connector.clone();
        let connector = connector.ready().await.map_err(TranscribeError::Connect)?;
        let io = connector.call(self.request.uri().clone()).await.map_err(TranscribeError::Connect)?;
        let broken = |error: hyper::Error| TranscribeError::Broken(error.into());
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
        let request = self.with_body(recording);
        let secrets = secrets_of(request.headers());
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            let body = ResponseBody::new(body).read(MAX_ANSWER).await;
            Ok((head, body.map_err(|error| TranscribeError::Broken(error.into()))?))
        };
        // The connection is polled here, so that no task outlives the call. Where it ends first,
        // what it brought is in memory, or the answer never comes whole and the exchange says so.
        let (head, body) = match select(pin!(exchange), pin!(connection)).await {
            Either::Left((answered, _)) => answered?,
            Either::Right((_, exchange)) => exchange.await?,
        };
        read(head.status, retry_after(&head.headers), &body, &secrets)
    }

    fn with_body(&self, recording: Recording) -> Request<Full<Bytes>> {
        let uri = self.request.uri();
        let mut request = Request::new(Full::new(recording.bytes));
        *request.method_mut() = Method::POST;
        // A server is asked by path and `Host`.
        *request.uri_mut() = uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        let headers = request.headers_mut();
        headers.extend(self.request.headers().clone());
        if let Some(host) =
            uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
        {
            headers.insert(HOST, host);
        }
        // The provider looks into the file for what it is, so a kind that is no header is only left
        // out.
        if let Ok(kind) = HeaderValue::from_str(&recording.mime) {
            headers.insert(CONTENT_TYPE, kind);
        }
        request
    }
}

#[async_trait]
impl Transcriber for Recorded {
    async fn transcribe(&self, recording: Recording) -> Result<Transcript, TranscribeError> {
        let (most, limit) = (self.config.max_bytes, self.config.timeout);
        if recording.bytes.len() > most {
            return Err(TranscribeError::TooLarge { most });
        }
        tokio::time::timeout(limit, self.ask(recording))
            .await
            .unwrap_or(Err(TranscribeError::TimedOut(limit)))
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    metadata: wire::Metadata,
    results: Results,
}

#[derive(Debug, Deserialize)]
struct Results {
    channels: Vec<wire::Channel>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(default)]
    err_code: String,
    #[serde(default)]
    err_msg: String,
}

fn read(
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
    secrets: &[Secret],
) -> Result<Transcript, TranscribeError> {
    if status == StatusCode::OK {
        // Such an error repeats what it met.
        let answer: Answer = serde_json::from_slice(body).map_err(|error| {
            TranscribeError::Protocol(excerpt(error.to_string().as_bytes(), secrets).into())
        })?;
        return Ok(transcript(answer));
    }
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || passing.contains(&status) {
        return Err(TranscribeError::Busy { status, retry_after });
    }
    // A parameter that is refused has a code in capitals; audio that is refused has the words of
    // the status.
    let failure: Option<Failure> = serde_json::from_slice(body).ok();
    match failure {
        Some(Failure { err_code, err_msg })
            if status == StatusCode::BAD_REQUEST && err_code == "Bad Request" =>
        {
            Err(TranscribeError::Unreadable(excerpt(err_msg.as_bytes(), secrets)))
        }
        _ if status == StatusCode::PAYLOAD_TOO_LARGE || status == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Err(TranscribeError::Unreadable(excerpt(body, secrets)))
        }
        _ => Err(TranscribeError::Refused { status, body: excerpt(body, secrets) }),
    }
}

fn transcript(answer: Answer) -> Transcript {
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let end = seconds(answer.metadata.duration);
    let best = answer.results.channels.into_iter().next().map(wire::Channel::into_best).unwrap_or_default();
    let words = best.words.into_iter().map(|word| {
        let from = word.start.map_or(Duration::ZERO, seconds);
        Word {
            text: word.punctuated_word.unwrap_or(word.word),
            start: from,
            end: word.end.map_or(end, seconds).max(from),
            confidence: word.confidence,
        }
    });
    Transcript {
        kind: TranscriptKind::Final,
        words: words.collect(),
        text: best.transcript,
        start: Duration::ZERO,
        end,
        end_of_speech: true,
    }
}

#[cfg(test)]
mod tests {
    use livos_core::secret::Secret;
    use livos_twins::{Twin as _, deepgram as twin, fault, tones};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        time::Instant,
    };

    use super::*;
    use crate::connect;

    const KEY: &str = "key-0123456789";

    fn client(connector: Connector) -> Recorded {
        let mut config = Config::new(Secret::new(KEY));
        config.base_url = "ws://deepgram.test".into();
        config.keyterms = vec!["Åse".into()];
        Recorded::new(&config, RecordedConfig::default(), connector).unwrap()
    }

    fn of_twin(twin: &twin::Deepgram) -> Recorded {
        let host = twin.clone();
        client(connect::from_fn(move |_| {
            let host = host.clone();
            async move { Ok(host.connect()) }
        }))
    }

    fn spoken(text: &str) -> (Recording, Duration) {
        let samples = tones::encode(text, 16_000);
        let length = Duration::from_micros(samples.len() as u64 * 1_000_000 / 16_000);
        (Recording { bytes: tones::wav(&samples, 16_000).into(), mime: "audio/wav".into() }, length)
    }

    fn note() -> Recording {
        spoken("hello").0
    }

    /// What is said of a note by a peer that reads the request and answers with these bytes, then
    /// closes or stays.
    async fn of_peer(answer: &'static str, stays: bool) -> Result<Transcript, TranscribeError> {
        let connector = connect::from_fn(move |_| async move {
            let (ours, mut theirs): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move {
                let mut request = vec![0; 1 << 16];
                let _ = theirs.read(&mut request).await;
                let _ = theirs.write_all(answer.as_bytes()).await;
                if stays {
                    std::future::pending::<()>().await;
                }
            });
            Ok(ours)
        });
        client(connector).transcribe(note()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_recording_is_understood_with_the_places_of_its_words() {
        let twin = twin::Deepgram::new(twin::Config::default());
        let (recording, length) = spoken("Where is my umbrella?");
        let transcript = of_twin(&twin).transcribe(recording).await.unwrap();
        assert_eq!(transcript.text, "where is my umbrella?");
        assert_eq!(
            (transcript.kind, transcript.start, transcript.end),
            (TranscriptKind::Final, Duration::ZERO, length)
        );
        let texts: Vec<&str> = transcript.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["where", "is", "my", "umbrella?"]);
        assert!(transcript.words.is_sorted_by(|one, next| one.end <= next.start));
        assert!(transcript.words[3].end <= length);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((twin.stats().open_connections, twin.stats().streams.len()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_a_transcript_without_words() {
        let twin = twin::Deepgram::new(twin::Config::default());
        let mut recording = note();
        recording.bytes = recording.bytes.iter().take(44).copied().chain([0; 32_000]).collect();
        let transcript = of_twin(&twin).transcribe(recording).await.unwrap();
        assert_eq!((transcript.text.as_str(), transcript.words.len()), ("", 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_later_attempt_would_change_is_told_apart_from_what_passes() {
        let twin = twin::Deepgram::new(twin::Config { api_key: Some(KEY.into()), ..twin::Config::default() });
        let damaged =
            Recording { bytes: Bytes::from_static(b"no sound at all"), mime: "audio/ogg\r\nx: y".into() };
        let error = of_twin(&twin).transcribe(damaged).await.unwrap_err();
        assert!(matches!(&error, TranscribeError::Unreadable(why) if why.contains("corrupt")), "{error}");
        assert!(!error.is_temporary());

        let stranger =
            twin::Deepgram::new(twin::Config { api_key: Some("other".into()), ..twin::Config::default() });
        let error = of_twin(&stranger).transcribe(note()).await.unwrap_err();
        assert!(matches!(&error, TranscribeError::Refused { status, .. } if *status == 401), "{error}");
        assert!(!error.is_temporary() && !error.to_string().contains(KEY));

        twin.refuse(1, fault::Refusal::status(429).header("retry-after", "7"));
        let error = of_twin(&twin).transcribe(note()).await.unwrap_err();
        assert!(error.is_temporary(), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert!(of_twin(&twin).transcribe(note()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_or_mute_peer_ends_in_time_and_may_be_asked_again() {
        let start = Instant::now();
        let mute = of_peer("", true).await.unwrap_err();
        assert!(matches!(mute, TranscribeError::TimedOut(_)) && mute.is_temporary(), "{mute}");
        assert_eq!(start.elapsed(), RecordedConfig::default().timeout);
        let half =
            of_peer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"metadata\"", false).await.unwrap_err();
        assert!(matches!(half, TranscribeError::Broken(_)) && half.is_temporary(), "{half}");
        let gone = of_peer("", false).await.unwrap_err();
        assert!(matches!(gone, TranscribeError::Broken(_)), "{gone}");
        let unreachable = client(connect::from_fn(|_| async { Err::<DuplexStream, _>("no route".into()) }));
        let error = unreachable.transcribe(note()).await.unwrap_err();
        assert!(matches!(error, TranscribeError::Connect(_)) && error.is_temporary(), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_ends_with_its_connection_is_read_whole() {
        let heard = of_peer(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"metadata\":{\"duration\":1e300},\"results\":{\"channels\":[\
             {\"alternatives\":[{\"transcript\":\"hello\",\"words\":[{\"word\":\"hello\",\"start\":9,\"end\":-1}]}]}]}}",
            false,
        )
        .await
        .unwrap();
        // Times that no recording has are no reason to lose the words.
        assert_eq!((heard.text.as_str(), heard.end), ("hello", Duration::ZERO));
        assert!(heard.words[0].end >= heard.words[0].start);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_another_protocol_and_a_recording_too_large_are_no_use_again() {
        let odd = of_peer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", true).await.unwrap_err();
        assert!(matches!(odd, TranscribeError::Protocol(_)) && !odd.is_temporary(), "{odd}");
        let twin = twin::Deepgram::new(twin::Config::default());
        let bytes = vec![0; RecordedConfig::default().max_bytes + 1].into();
        let error =
            of_twin(&twin).transcribe(Recording { bytes, mime: "audio/ogg".into() }).await.unwrap_err();
        assert!(matches!(error, TranscribeError::TooLarge { .. }) && !error.is_temporary(), "{error}");
        assert_eq!(twin.stats().total_connections, 0);
    }
}
