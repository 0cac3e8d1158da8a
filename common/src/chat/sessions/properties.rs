//! Titles and idempotency keys are taken exactly by the documented rules.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::properties::{cases, text};

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_key_is_taken_exactly_when_it_is_1_to_64_printable_characters(
        key in prop_oneof![
            vec(any::<u8>(), 0..70),
            vec(b' '..=b'~', 0..70),
            text().prop_map(String::into_bytes),
        ],
    ) {
        let fits = (1..=64).contains(&key.len()) && key.iter().all(|byte| (32..127).contains(byte));
        let read = IdempotencyKey::parse(&key);
        prop_assert_eq!(read.is_ok(), fits);
        if let Ok(read) = read {
            prop_assert_eq!(read.as_str().as_bytes(), key);
        }
    }

    #[test]
    fn a_title_is_trimmed_and_taken_exactly_when_1_to_100_characters_are_left(
        title in prop_oneof![text(), "(?s).{98,104}", "[ a\u{3000}]{0,110}"],
    ) {
        let trimmed = title.trim();
        let fits = (1..=100).contains(&trimmed.chars().count()) && !trimmed.contains('\0');
        let read = Title::parse(&title);
        prop_assert_eq!(read.is_ok(), fits);
        if let Ok(read) = read {
            prop_assert_eq!(read.as_str(), trimmed);
        }
    }
}
