//! Server-sent events from bytes cut anywhere:
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! A network cuts a stream inside a line, inside CR LF and inside a character. This parser works on
//! bytes and looks at text only once a line is whole. What a peer may make it hold is bounded.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The `event` field; empty when there was none.
    pub name: String,
    /// The `data` fields, joined by line feeds.
    pub data: String,
}

/// The stream can't be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SseError {
    /// An event is longer than [`Parser::MAX_EVENT`].
    #[error("the provider sent an event that is longer than {} bytes", Parser::MAX_EVENT)]
    TooLong,
    /// A line is not UTF-8.
    #[error("the provider sent a line that is not UTF-8")]
    NotUtf8,
}

/// Parses one stream.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last byte ended a line with CR, so an LF that follows belongs to it.
    after_cr: bool,
    /// A line was seen, so a byte order mark can no longer come.
    begun: bool,
    /// Bytes of the event that is being gathered.
    size: usize,
}

impl Parser {
    /// The longest event, in bytes. 1 MiB: the provider's are some hundred bytes.
    pub const MAX_EVENT: usize = 1 << 20;

    /// Reads more bytes and calls `emit` for each event that they complete. After an error the
    /// parser is of no further use.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(Event)) -> Result<(), SseError> {
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => self.end_line(&mut emit)?,
                _ => {
                    self.size += 1;
                    if self.size > Self::MAX_EVENT {
                        return Err(SseError::TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, emit: &mut impl FnMut(Event)) -> Result<(), SseError> {
        let line = std::mem::take(&mut self.line);
        let mut text = std::str::from_utf8(&line).map_err(|_| SseError::NotUtf8)?;
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch(emit);
        } else {
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.event.name),
                "data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                // Comments (an empty field), `id` and `retry` say nothing to us.
                _ => {}
            }
        }
        // The buffer is used again for the next line.
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn dispatch(&mut self, emit: &mut impl FnMut(Event)) {
        let event = std::mem::take(&mut self.event);
        self.size = 0;
        // An event without data is none, by the standard.
        if std::mem::take(&mut self.has_data) {
            emit(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(chunks: &[&[u8]]) -> Result<Vec<(String, String)>, SseError> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        for chunk in chunks {
            parser.push(chunk, |event| events.push((event.name, event.data)))?;
        }
        Ok(events)
    }

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect();
        assert_eq!(parse(&[text.as_bytes()]), Ok(expected));
    }

    #[test]
    fn events_are_fields_ended_by_a_blank_line() {
        check("event: a\ndata: 1\n\ndata:2\ndata: 3\n\n", &[("a", "1"), ("", "2\n3")]);
    }

    #[test]
    fn every_line_ending_of_the_standard_ends_a_line() {
        check("data: 1\r\n\r\ndata: 2\r\rdata: 3\n\n", &[("", "1"), ("", "2"), ("", "3")]);
    }

    #[test]
    fn comments_unknown_fields_and_events_without_data_say_nothing() {
        check("\u{feff}: hello\nid: 1\nretry\nevent: lost\n\n:\n\ndata\n\n", &[("", "")]);
    }

    #[test]
    fn an_unfinished_event_is_not_emitted() {
        check("data: 1\n\ndata: 2\n", &[("", "1")]);
    }

    #[test]
    fn an_endless_event_and_broken_text_are_errors() {
        let long = vec![b'x'; Parser::MAX_EVENT + 1];
        assert_eq!(parse(&[&long]), Err(SseError::TooLong));
        assert_eq!(parse(&[b"data: \xff\xfe\n"]), Err(SseError::NotUtf8));
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_events(
            text in "(\u{feff})?((event|data|id|)(: ?[a-zé日🙂:]{0,8})?(\n|\r\n|\r){1,3}){0,20}", cuts in prop::collection::vec(1usize..7, 1..30),
        ) {
            let bytes = text.as_bytes();
            let (mut chunks, mut rest) = (Vec::new(), bytes);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(parse(&chunks), parse(&[bytes]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = parse(&[&bytes]);
        }
    }
}
