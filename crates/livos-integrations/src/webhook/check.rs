//! One request under examination: it holds the body that it has examined, so that nothing else can
//! come out as verified.

use ::hmac::Mac as _;
use bytes::{Bytes, BytesMut};

use super::{Delivery, Verified, VerifyError, keys, keys::HmacSha256};

/// A request whose head was accepted and whose body is coming in.
pub struct Check {
    judge: Box<dyn Judge>,
    body: Gathered,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("received", &self.received()).finish_non_exhaustive()
    }
}

impl Check {
    pub(super) fn new(judge: impl Judge + 'static) -> Self {
        Self { judge: Box::new(judge), body: Gathered::None }
    }

    /// Takes the next chunk of the body. The caller bounds their sum.
    pub fn update(&mut self, chunk: Bytes) {
        self.judge.update(&chunk);
        self.body.push(chunk);
    }

    /// Bytes taken so far.
    pub fn received(&self) -> usize {
        match &self.body {
            Gathered::None => 0,
            Gathered::One(bytes) => bytes.len(),
            Gathered::Many(bytes) => bytes.len(),
        }
    }

    /// The delivery, or whose fault it is that there is none.
    pub fn finish(self) -> Result<Verified<Delivery>, VerifyError> {
        self.judge.finish(self.body.whole()).map(Verified::new)
    }
}

/// What a provider checks of a body.
pub(super) trait Judge: Send {
    /// The next chunk.
    fn update(&mut self, chunk: &[u8]) {
        let _ = chunk;
    }

    /// The whole body, which is the chunks joined.
    fn finish(self: Box<Self>, body: Bytes) -> Result<Delivery, VerifyError>;
}

/// Whole bodies are judged by a function.
impl<F> Judge for F
where
    F: FnOnce(Bytes) -> Result<Delivery, VerifyError> + Send,
{
    fn finish(self: Box<Self>, body: Bytes) -> Result<Delivery, VerifyError> {
        self(body)
    }
}

/// A MAC over the body, chunk by chunk, under each active secret; once it fits, the body is read.
pub(super) struct MacJudge<F> {
    macs: Vec<HmacSha256>,
    signatures: Vec<[u8; 32]>,
    read: F,
}

impl<F: FnOnce(Bytes) -> Result<Delivery, VerifyError>> MacJudge<F> {
    pub(super) fn new(macs: Vec<HmacSha256>, signatures: Vec<[u8; 32]>, read: F) -> Self {
        Self { macs, signatures, read }
    }
}

impl<F> Judge for MacJudge<F>
where
    F: FnOnce(Bytes) -> Result<Delivery, VerifyError> + Send,
{
    fn update(&mut self, chunk: &[u8]) {
        self.macs.iter_mut().for_each(|mac| mac.update(chunk));
    }

    fn finish(self: Box<Self>, body: Bytes) -> Result<Delivery, VerifyError> {
        if !keys::any_signed(self.macs, &self.signatures) {
            return Err(VerifyError::WrongSignature);
        }
        (self.read)(body)
    }
}

/// A body as it comes in. One that comes whole is not copied.
enum Gathered {
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Gathered {
    fn push(&mut self, chunk: Bytes) {
        match self {
            _ if chunk.is_empty() => {}
            Self::None => *self = Self::One(chunk),
            Self::One(first) => {
                let mut many = BytesMut::with_capacity(2 * (first.len() + chunk.len()));
                many.extend_from_slice(first);
                many.extend_from_slice(&chunk);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.extend_from_slice(&chunk),
        }
    }

    fn whole(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}
