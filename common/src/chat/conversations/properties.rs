//! Property tests: a context is valid exactly by the documented rule.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::properties::{cases, text};

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_context_is_valid_exactly_by_the_documented_rule(
        kind in proptest::option::of(select(ContextType::ALL.as_slice())),
        id in proptest::option::of(prop_oneof![
            text(),
            (select(vec!["a", "收", "🎱"]), 60..68_usize).prop_map(|(one, length)| one.repeat(length)),
        ]),
    ) {
        let name = kind.map(ContextType::name);
        let may_be_empty = matches!(name, Some("general" | "board"));
        let fits = name.is_some() && id.as_ref().is_some_and(|id| {
            id.chars().count() <= 64 && (may_be_empty || !id.is_empty())
        });
        match Context::parse(kind, id.as_deref()) {
            Ok(context) => {
                prop_assert!(fits);
                prop_assert_eq!(Some(context.kind.name()), name);
                prop_assert_eq!(Some(context.id), id);
            }
            Err(Error::Invalid { field, .. }) => {
                prop_assert!(!fits);
                let expected = if name.is_none() { "contextType" } else { "contextId" };
                prop_assert_eq!(field, expected);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
