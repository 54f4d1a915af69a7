//! Between the domain's frames and the generated protobuf types. Every bound is checked here, once in each direction.

mod from_gen;
mod to_gen;

pub(crate) use from_gen::{WireNumbers, failed_count, frame_from_gen, message_numbers, outcome_from_gen};
pub(crate) use to_gen::{check_message, frame_to_gen, outcome_to_gen};

/// The longest front of `text` that fits in `max_bytes`.
fn front_of(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::front_of;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(front_of("abc", 8), "abc");
        assert_eq!(front_of("abc", 2), "ab");
        assert_eq!(front_of("aé", 2), "a");
        assert_eq!(front_of("é", 1), "");
    }
}
