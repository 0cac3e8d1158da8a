//! Property tests: titles and idempotency keys are valid exactly by the documented rules.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::properties::{cases, text};

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_key_is_valid_exactly_when_it_has_1_to_64_printable_characters(
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
    fn a_title_is_valid_exactly_when_its_trimmed_length_is_1_to_100(
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
