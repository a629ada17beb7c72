//! Sentences that the server says itself.

use futures_util::stream;
use livos_core::conversation::{Finish, Heard, Reply, ReplyControl, ReplyEvent};

/// One sentence of the server's own as a reply.
pub fn sentence(text: String) -> Reply {
    /// Remembers nothing.
    struct Forgetful;
    impl ReplyControl for Forgetful {
        fn commit(&mut self) {}
        fn heard(&mut self, _: Heard) {}
    }
    let events = [ReplyEvent::Text(text), ReplyEvent::Finished(Finish::Complete)];
    Reply::new(stream::iter(events.map(Ok)), Forgetful)
}
