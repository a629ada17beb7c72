//! Audio kept in memory that was set aside once: pre-roll before speech is confirmed, and speech
//! that a broken connection may need again.
//!
//! Keeping the [`bytes::Bytes`] of a socket would keep its whole read buffer alive and make the
//! reader allocate; a copy of 640 bytes into a ring costs nanoseconds and no memory.

/// The newest bytes of a stream, addressed by their position in the whole stream.
#[derive(Debug, Clone)]
pub struct Ring {
    buffer: Box<[u8]>,
    end: u64,
    start: u64,
}

impl Ring {
    /// Keeps the newest `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self { buffer: vec![0; capacity].into_boxed_slice(), end: 0, start: 0 }
    }

    /// Position of the oldest byte that is kept.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Position after the newest byte: how many were pushed in all.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes are kept.
    pub fn len(&self) -> usize {
        // The difference is at most the capacity.
        (self.end - self.start) as usize
    }

    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Appends, and answers how many old bytes were dropped to make room. Never allocates.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let capacity = self.buffer.len();
        let kept = &bytes[bytes.len().saturating_sub(capacity)..];
        self.end += bytes.len() as u64;
        if capacity > 0 {
            let at = ((self.end - kept.len() as u64) % capacity as u64) as usize;
            let first = kept.len().min(capacity - at);
            self.buffer[at..at + first].copy_from_slice(&kept[..first]);
            self.buffer[..kept.len() - first].copy_from_slice(&kept[first..]);
        }
        let oldest = self.end.saturating_sub(capacity as u64).max(self.start);
        let dropped = oldest - self.start;
        self.start = oldest;
        dropped as usize
    }

    /// Forgets what lies before `position`.
    pub fn forget_before(&mut self, position: u64) {
        self.start = position.clamp(self.start, self.end);
    }

    /// Forgets everything; positions go on.
    pub fn clear(&mut self) {
        self.start = self.end;
    }

    /// What is kept from `position` on, as two slices of which the second follows the first. A
    /// position that is no longer kept begins at the oldest byte.
    pub fn since(&self, position: u64) -> (&[u8], &[u8]) {
        let from = position.clamp(self.start, self.end);
        let length = (self.end - from) as usize;
        if length == 0 {
            return (&[], &[]);
        }
        let at = (from % self.buffer.len() as u64) as usize;
        let first = length.min(self.buffer.len() - at);
        (&self.buffer[at..at + first], &self.buffer[..length - first])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(ring: &Ring, position: u64) -> Vec<u8> {
        let (first, second) = ring.since(position);
        [first, second].concat()
    }

    #[test]
    fn the_oldest_bytes_make_room() {
        let mut ring = Ring::new(4);
        assert_eq!(ring.push(b"abc"), 0);
        assert_eq!(ring.push(b"def"), 2);
        assert_eq!((ring.start(), ring.end(), joined(&ring, 0)), (2, 6, b"cdef".to_vec()));
        assert_eq!(joined(&ring, 5), b"f");
        ring.forget_before(4);
        assert_eq!(joined(&ring, 0), b"ef");
        assert_eq!(ring.push(b"0123456789"), 12 - 4);
        assert_eq!(joined(&ring, 0), b"6789");
    }

    proptest! {
        #[test]
        fn it_holds_the_tail_of_the_stream(capacity in 0usize..40, pushes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let (mut ring, mut all) = (Ring::new(capacity), Vec::new());
            for push in pushes {
                ring.push(&push);
                all.extend(push);
                prop_assert_eq!(ring.len(), all.len().min(capacity));
                prop_assert_eq!(joined(&ring, 0), all[all.len() - ring.len()..].to_vec());
            }
        }
    }
}
