//! Any received header is rejected or passed on as a valid trace header.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::properties::{cases, text};

/// A field of a header, valid or almost valid.
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
    fn parsed_trace_is_safe_in_headers_and_logs(parts in vec(part(), 0..6), other in text()) {
        for header in [parts.join(";"), other] {
            let Some(trace) = Trace::parse(&header) else { continue };
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"=;-".contains(&byte);
            prop_assert!(trace.header().bytes().all(is_safe), "{}", trace.header());
            prop_assert!(trace.header().len() <= 96);
            prop_assert!(header.contains(trace.root()));
            // The next service parses the same trace.
            prop_assert_eq!(Trace::parse(trace.header()), Some(trace));
        }
    }

    #[test]
    fn header_from_aws_is_unchanged(
        root in "1-[0-9a-f]{8}-[0-9a-f]{24}", parent in "[0-9a-f]{16}", sampled in "[01]",
    ) {
        let header = format!("Root={root};Parent={parent};Sampled={sampled}");
        let trace = Trace::parse(&header).unwrap();
        prop_assert_eq!((trace.header(), trace.root()), (&*header, &*root));
    }
}
