//! Payloads of a JSON head and raw bytes: the head says what the bytes are, and large bodies are
//! neither escaped nor encoded again.
//!
//! The length of the head comes first, as four bytes in network order.

use serde::{Serialize, de::DeserializeOwned};

/// Joins a head and a body. Fails only if the head can't be written as JSON, or has 4 GiB.
pub fn join(head: &impl Serialize, body: &[u8]) -> Result<Vec<u8>, NotFramed> {
    let head = serde_json::to_vec(head).map_err(|_| NotFramed)?;
    let length = u32::try_from(head.len()).map_err(|_| NotFramed)?;
    Ok([length.to_be_bytes().as_slice(), &head, body].concat())
}

/// Splits what [`join`] joined.
pub fn split<T: DeserializeOwned>(payload: &[u8]) -> Result<(T, &[u8]), NotFramed> {
    let (length, rest) = payload.split_first_chunk().ok_or(NotFramed)?;
    let (head, body) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(NotFramed)?;
    Ok((serde_json::from_slice(head).map_err(|_| NotFramed)?, body))
}

/// The bytes are not a JSON head of the expected shape with a body behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload does not begin with the length of a JSON head and that head")]
pub struct NotFramed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_and_a_body_come_apart_as_they_were_joined() {
        let joined = join(&("head", 7), b"\0body\xff").unwrap();
        assert_eq!(split(&joined), Ok((("head".to_owned(), 7), &b"\0body\xff"[..])));
        for broken in [&b""[..], b"\0\0\0", b"\0\0\0\x05ab", b"\xff\xff\xff\xff{}", b"\0\0\0\x02{}"] {
            assert_eq!(split::<(String, u32)>(broken), Err(NotFramed), "{broken:?}");
        }
    }
}
