//! Instants as a person's own clock shows them. Nothing is counted or limited by a time zone; it is
//! only shown in one.

use crate::time::Timestamp;

/// A time zone by its IANA name, as in `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    zone: jiff::tz::TimeZone,
    name: String,
}

/// The longest name of a zone is half as long.
const MAX_NAME: usize = 64;

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self { zone: jiff::tz::TimeZone::UTC, name: "UTC".to_owned() }
    }

    /// The zone of this name, from the machine's database or the one built in.
    ///
    /// ```
    /// use livos_core::{time::Timestamp, usage::Zone};
    ///
    /// let midnight = Timestamp::from_unix_ms(1_795_564_800_000);
    /// assert_eq!(Zone::find("Europe/Berlin").unwrap().show(midnight), "2026-11-25T01:00:00+01:00");
    /// assert_eq!(Zone::find("Mars/Olympus").unwrap_err().to_string(),
    ///     "there is no time zone \"Mars/Olympus\"; an IANA name is needed, such as Europe/Berlin");
    /// ```
    pub fn find(name: &str) -> Result<Self, UnknownZone> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
        let unknown = || UnknownZone(name.chars().take(MAX_NAME).collect());
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
            return Err(unknown());
        }
        let zone = jiff::tz::TimeZone::get(name).map_err(|_| unknown())?;
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Ok(Self { zone, name })
    }

    /// Its name, as the database writes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The instant on its clock, to the second, with its distance from UTC:
    /// `2026-11-25T01:00:00+01:00`.
    pub fn show(&self, instant: Timestamp) -> String {
        let instant = jiff::Timestamp::from_millisecond(instant.unix_ms()).unwrap_or_default();
        instant.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}

/// There is no time zone of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone {0:?}; an IANA name is needed, such as Europe/Berlin")]
pub struct UnknownZone(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_in_utc_is_another_hour_elsewhere_and_summer_time_moves_it() {
        let table = [
            ("UTC", "2026-11-25", "2026-11-25T00:00:00+00:00"),
            ("Europe/Berlin", "2026-11-25", "2026-11-25T01:00:00+01:00"),
            ("Europe/Berlin", "2026-07-25", "2026-07-25T02:00:00+02:00"),
            ("Asia/Kathmandu", "2026-11-25", "2026-11-25T05:45:00+05:45"),
            ("America/Los_Angeles", "2026-11-25", "2026-11-24T16:00:00-08:00"),
            ("europe/berlin", "2026-03-29", "2026-03-29T01:00:00+01:00"),
        ];
        for (zone, day, shown) in table {
            let midnight = day.parse::<crate::time::UtcDay>().unwrap().start();
            assert_eq!(Zone::find(zone).unwrap().show(midnight), shown, "{zone}");
        }
        assert_eq!(Zone::find("europe/berlin").unwrap().name(), "Europe/Berlin");
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        for name in [
            "",
            "Berlin",
            "+01:00",
            "../../etc/passwd",
            "Europe/Berlin\0",
            "CET-1CEST,M3.5.0,M10.5.0",
            &"x".repeat(9_999),
        ] {
            let error = Zone::find(name).unwrap_err();
            assert!(error.to_string().len() < 300, "{error}");
        }
    }
}
