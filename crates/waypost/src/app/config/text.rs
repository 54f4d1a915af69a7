//! How the values of settings are written.

use core::time::Duration;

/// `10s`, `500ms`, `2m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| wrong_duration(text))?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        _ => None,
    }
    // A deadline further away than this cannot be told from none.
    .filter(|&duration| duration <= Duration::from_secs(366 * 24 * 3600))
    .ok_or_else(|| wrong_duration(text))
}

fn wrong_duration(text: &str) -> String {
    format!("not a time: {text:?}; write for example 10s, 500ms or 2m")
}

/// `4MiB`, `512KiB`, `65536`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let factor: Option<usize> = match unit {
        "" | "B" => Some(1),
        "kB" => Some(1000),
        "KiB" => Some(1 << 10),
        "MB" => Some(1_000_000),
        "MiB" => Some(1 << 20),
        "GB" => Some(1_000_000_000),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    number
        .parse::<usize>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| format!("not a size: {text:?}; write for example 4MiB, 512KiB or 65536"))
}

/// `true` or `false`, with the usual other words for them.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("neither true nor false: {text:?}")),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2 m"), Ok(Duration::from_secs(120)));
        for wrong in [
            "",
            "10",
            "s",
            "1.5s",
            "-1s",
            "10 parsecs",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_bytes_unless_they_say_otherwise() {
        assert_eq!(size("65536"), Ok(65536));
        assert_eq!(size("4MiB"), Ok(4 << 20));
        assert_eq!(size("5 kB"), Ok(5000));
        for wrong in [
            "",
            "MiB",
            "-1",
            "4mib",
            "99999999999999999999",
            "18446744073709551615GiB",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
