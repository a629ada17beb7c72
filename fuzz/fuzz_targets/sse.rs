//! Server-sent events: any bytes, and the same events however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_agent::model::anthropic::sse::{Event, Parser, SseError};

fn parse<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, Option<SseError>) {
    let (mut parser, mut events) = (Parser::default(), Vec::new());
    for piece in pieces {
        if let Err(error) = parser.push(piece, |event| events.push(event)) {
            return (events, Some(error));
        }
    }
    (events, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let whole = parse(std::iter::once(stream));
    assert_eq!(whole, parse(stream.chunks(usize::from(*cut).max(1))));
    assert_eq!(whole, parse(stream.chunks(1)));
});
