//! How old an object is by the datastore's own clock: `Date` against `Last-Modified`.

use core::time::Duration;

/// The time from one HTTP date to another; `None` when one is missing or unreadable, zero when the second is earlier.
pub(crate) fn between(modified: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let (modified, date) = (seconds(modified?)?, seconds(date?)?);
    Some(Duration::from_secs(u64::try_from(date - modified).unwrap_or(0)))
}

/// Seconds since 1970 of a date such as `Mon, 23 Nov 2026 20:10:34 GMT`.
fn seconds(text: &str) -> Option<i64> {
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day: i64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    .iter()
    .position(|name| *name == month)?;
    let month = i64::try_from(month).ok()? + 1;
    let year: i64 = parts
        .next()?
        .parse()
        .ok()
        .filter(|year| (1970..=9999).contains(year))?;
    let mut clock = parts.next()?.splitn(3, ':').map(str::parse::<i64>);
    let (hours, minutes, secs) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let in_range = (1..=31).contains(&day)
        && (0..24).contains(&hours)
        && (0..60).contains(&minutes)
        && (0..61).contains(&secs);
    if !in_range {
        return None;
    }
    // Days from the civil calendar, counted in years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468;
    Some(days * 86_400 + hours * 3_600 + minutes * 60 + secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Mon, 23 Nov 2026 20:10:34 GMT"), Some(1_795_464_634));
        assert_eq!(seconds("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        for text in [
            "",
            "Mon",
            "Mon, 23 Foo 2026 20:10:34 GMT",
            "Mon, 99 Nov 2026 20:10:34 GMT",
            "x, 1 Jan 2026 1:2",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn an_age_is_never_negative() {
        let (early, late) = ("Mon, 23 Nov 2026 20:10:34 GMT", "Mon, 23 Nov 2026 20:11:34 GMT");
        assert_eq!(between(Some(early), Some(late)), Some(Duration::from_secs(60)));
        assert_eq!(between(Some(late), Some(early)), Some(Duration::ZERO));
        assert_eq!(between(None, Some(early)), None);
    }
}
