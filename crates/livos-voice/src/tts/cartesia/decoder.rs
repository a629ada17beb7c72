//! Base64 to whole samples.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};

use crate::audio::AudioFormat;

/// Decodes the audio of one context. Its buffer is used again once the frames made of it are gone.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    /// Half a sample that waits for its other half.
    odd: Option<u8>,
}

impl Decoder {
    /// Another context comes: half a sample of the last one is no part of it.
    pub(super) fn reset(&mut self) {
        self.odd = None;
    }

    /// The whole samples up to the end of this chunk; `None` if it is not base64.
    pub(super) fn decode(&mut self, data: &str) -> Option<Bytes> {
        self.buffer.clear();
        let carried = usize::from(self.odd.is_some());
        self.buffer.resize(carried + data.len() / 4 * 3 + 3, 0);
        if let Some(odd) = self.odd.take() {
            self.buffer[0] = odd;
        }
        let decoded = STANDARD.decode_slice(data, &mut self.buffer[carried..]).ok()?;
        let mut length = carried + decoded;
        if length % AudioFormat::BYTES_PER_SAMPLE == 1 {
            length -= 1;
            self.odd = Some(self.buffer[length]);
        }
        self.buffer.truncate(length);
        Some(self.buffer.split().freeze())
    }
}
