//! `Retry-After`, in both of its forms: <https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>.

use std::time::{Duration, UNIX_EPOCH};

use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};

use crate::time::Timestamp;

/// How long a server asks us to wait; `None` if it does not say so in a form that can be read.
///
/// Seconds may have a fraction, as some providers send it. A date is compared with the response's
/// own `Date`, so that our clock does not matter, and with `now` if there is none. A date in the
/// past is no wait at all. There is no upper bound: the caller clamps to its own.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(seconds) = seconds(value) {
        return Some(seconds);
    }
    let until = http_date(value)?;
    let sent = headers.get(DATE).and_then(|value| http_date(value.to_str().ok()?.trim()));
    Some(until.since(sent.unwrap_or(now)))
}

/// Seconds as digits with an optional fraction; a number too large for a [`Duration`] is the
/// longest one.
fn seconds(value: &str) -> Option<Duration> {
    let is_number = value.starts_with(|c: char| c.is_ascii_digit())
        && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = value.parse::<f64>().ok().filter(|_| is_number)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn http_date(value: &str) -> Option<Timestamp> {
    let since_1970 = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::default().plus(since_1970))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const SENT: &str = "Tue, 24 Nov 2026 07:00:00 GMT";
    const UNTIL: &str = "Tue, 24 Nov 2026 07:00:30 GMT";

    fn asked(headers: &[(HeaderName, &str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let now = http_date("Tue, 24 Nov 2026 07:00:20 GMT").unwrap();
        retry_after(&headers, now)
    }

    fn value(value: &str) -> Option<Duration> {
        asked(&[(RETRY_AFTER, value)])
    }

    #[test]
    fn seconds_are_read_with_and_without_a_fraction() {
        assert_eq!(value("17"), Some(Duration::from_secs(17)));
        assert_eq!(value(" 0 "), Some(Duration::ZERO));
        assert_eq!(value("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(value(&"9".repeat(40)), Some(Duration::MAX));
        for bad in ["", "soon", "-1", "inf", "NaN", "1e3", "1.2.3", "."] {
            assert_eq!(value(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_date_counts_from_the_date_of_the_response_or_else_from_now() {
        assert_eq!(asked(&[(DATE, SENT), (RETRY_AFTER, UNTIL)]), Some(Duration::from_secs(30)));
        assert_eq!(value(UNTIL), Some(Duration::from_secs(10)));
        assert_eq!(value(SENT), Some(Duration::ZERO));
        assert_eq!(asked(&[]), None);
    }
}
