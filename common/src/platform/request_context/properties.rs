//! Whatever comes as a trace header, what is passed on is one.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::properties::{cases, text};

/// A part of a header, whole or nearly so.
fn part() -> impl Strategy<Value = String> {
    let key = select(vec![
        "Root", "Parent", "Sampled", "Self", "Lineage", "root", "",
    ]);
    let value = prop_oneof![
        "1-[0-9a-f]{8}-[0-9a-f]{24}",
        "[0-9A-Fa-f]{16}",
        "[01?]",
        "[ -~]{0,40}",
        text(),
    ];
    (key, value, option::of(" ")).prop_map(|(key, value, space)| {
        let space = space.unwrap_or_default();
        format!("{space}{key}={value}{space}")
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn of_any_header_only_what_is_safe_in_headers_and_logs_goes_on(parts in vec(part(), 0..6), other in text()) {
        for header in [parts.join(";"), other] {
            let Some(trace) = Trace::parse(&header) else { continue };
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"=;-".contains(&byte);
            prop_assert!(trace.header().bytes().all(is_safe), "{}", trace.header());
            prop_assert!(trace.header().len() <= 96);
            prop_assert!(header.contains(trace.root()));
            // What goes on is read alike at the next place.
            prop_assert_eq!(Trace::parse(trace.header()), Some(trace));
        }
    }

    #[test]
    fn a_header_of_aws_goes_on_unchanged(
        root in "1-[0-9a-f]{8}-[0-9a-f]{24}", parent in "[0-9a-f]{16}", sampled in "[01]",
    ) {
        let header = format!("Root={root};Parent={parent};Sampled={sampled}");
        let trace = Trace::parse(&header).unwrap();
        prop_assert_eq!((trace.header(), trace.root()), (&*header, &*root));
    }
}
