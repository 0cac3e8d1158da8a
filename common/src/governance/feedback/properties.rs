//! Property tests: feedback is valid exactly by the documented rules.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::properties::{cases, text};

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn feedback_is_valid_exactly_by_the_documented_rules(
        rating in proptest::option::of(select(vec!["up", "down", "Up", ""])),
        reasons in vec(select(vec!["inaccurate", "unhelpful", "unsafe", "other", "rude"]), 0..4),
        comment in proptest::option::of(prop_oneof![
            text(),
            (1_998..2_003_usize).prop_map(|length| "评".repeat(length)),
        ]),
    ) {
        let reasons: Vec<String> = reasons.into_iter().map(str::to_owned).collect();
        let trimmed = comment.as_deref().map(str::trim).unwrap_or_default();
        let fits = !matches!(rating, Some("Up" | ""))
            && reasons.iter().all(|word| word != "rude")
            && trimmed.chars().count() <= 2_000
            && !trimmed.contains('\0');
        match Feedback::parse(rating, &reasons, comment.as_deref()) {
            Ok(feedback) => {
                prop_assert!(fits);
                prop_assert_eq!(feedback.as_ref().map(|given| given.rating.name()), rating);
                if let Some(given) = feedback {
                    prop_assert_eq!(given.comment.unwrap_or_default(), trimmed);
                }
            }
            Err(Error::Invalid { .. }) => prop_assert!(!fits),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
