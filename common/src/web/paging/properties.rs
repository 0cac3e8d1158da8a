//! Any page or cursor is valid or rejected.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;
use crate::platform::paging::write_cursor;
use crate::properties::{cases, json, number, query, text, whole};

fn encoded(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn arbitrary_text_is_not_a_cursor(
        text in prop_oneof!["(?s).{0,60}", "[A-Za-z0-9_=-]{0,60}", text()],
    ) {
        prop_assert_eq!(read_cursor::<(i64, i64)>(&text, "list"), None);
        prop_assert_eq!(read_cursor::<i64>(&text, "list"), None);
    }

    #[test]
    fn cursor_of_any_json_is_valid_only_with_scope_and_key(
        json in json(&["list"]),
        key in json(&["list"]),
        scope in prop_oneof![Just("list".to_owned()), text()],
    ) {
        prop_assert_eq!(read_cursor::<i64>(&encoded(&json), "list"), None);
        let read = read_cursor::<i64>(&encoded(&json!([scope, key])), "list");
        prop_assert_eq!(read, key.as_i64().filter(|_| scope == "list"));
    }

    #[test]
    fn cursor_round_trips_only_in_its_scope(
        a in any::<i64>(),
        b in any::<i64>(),
        scope in text(),
        other in text(),
    ) {
        let cursor = write_cursor(&(a, b), &scope).unwrap();
        prop_assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        prop_assert_eq!(read_cursor::<(i64, i64)>(&cursor, &scope), Some((a, b)));
        let there = read_cursor::<(i64, i64)>(&cursor, &other);
        prop_assert_eq!(there.is_some(), other == scope);
        prop_assert_eq!(read_cursor::<(i64, i64)>(&cursor, &format!("{scope}/1")), None);
        // Nor is it valid for a list with another sort key.
        prop_assert_eq!(read_cursor::<i64>(&cursor, &scope), None);
        prop_assert_eq!(read_cursor::<(i64, i64, i64)>(&cursor, &scope), None);
    }

    #[test]
    fn page_is_accepted_exactly_if_its_numbers_are_within_bounds(
        page in proptest::option::of(number()),
        size in proptest::option::of(number()),
        size_name in select(vec!["page_size", "pageSize"]),
        cursor in proptest::option::of(prop_oneof![
            3 => any::<i64>().prop_map(|key| write_cursor(&key, "list").unwrap()),
            1 => text(),
        ]),
        both in any::<bool>(),
    ) {
        let mut pairs = Vec::new();
        pairs.extend(page.clone().map(|page| ("page", page)));
        pairs.extend(size.clone().map(|size| (size_name, size)));
        if both {
            pairs.extend([("page_size", "5".to_owned()), ("pageSize", "5".to_owned())]);
        }
        pairs.extend(cursor.clone().map(|cursor| ("cursor", cursor)));
        let read = Paging::<i64>::parse(&query(&pairs), 20, "list");

        let within = |text: &Option<String>, most| {
            text.as_ref().is_none_or(|text| whole(text).is_some_and(|number| (1..=most).contains(&number)))
        };
        let key = cursor.as_ref().map(|cursor| read_cursor::<i64>(cursor, "list"));
        let fits = within(&page, i64::MAX)
            && within(&size, 100)
            && !both
            && !(page.is_some() && cursor.is_some())
            && key != Some(None);
        prop_assert_eq!(read.is_ok(), fits, "{:?}", pairs);
        let refused = matches!(read, Err(Error::Invalid { .. }));
        prop_assert!(fits || refused);
        if let Ok(read) = read {
            let number = page.as_deref().and_then(whole).unwrap_or(1);
            let most = size.as_deref().and_then(whole).unwrap_or(20);
            prop_assert_eq!((read.page, read.size), (number, most));
            let before = i128::from(number - 1) * i128::from(most);
            let expected = match key.flatten() {
                Some(key) => PageStart::Key(key),
                None => PageStart::Offset(i64::try_from(before).unwrap_or(i64::MAX)),
            };
            prop_assert_eq!(read.from, expected);
            prop_assert!(Paging::<i64>::check(&query(&pairs)).is_ok());
        }
    }

    #[test]
    fn slice_is_accepted_exactly_if_its_limit_is_positive_and_its_offset_is_not_negative(
        limit in proptest::option::of(number()),
        offset in proptest::option::of(number()),
        cursor in proptest::option::of(prop_oneof![
            3 => any::<i64>().prop_map(|key| write_cursor(&key, "list").unwrap()),
            1 => text(),
        ]),
    ) {
        let mut pairs = Vec::new();
        pairs.extend(limit.clone().map(|limit| ("limit", limit)));
        pairs.extend(offset.clone().map(|offset| ("offset", offset)));
        pairs.extend(cursor.clone().map(|cursor| ("cursor", cursor)));
        let read = Slice::<i64>::parse(&query(&pairs), 20, "list");

        let most = limit.as_deref().map_or(Some(20), at_most_100);
        let skipped = offset.as_deref().map_or(Some(0), |text| whole(text).filter(|number| *number >= 0));
        let key = cursor.as_ref().map(|cursor| read_cursor::<i64>(cursor, "list"));
        let expected = match (most, skipped, key) {
            (Some(limit), Some(0), Some(Some(key))) if offset.is_none() => {
                Some(Slice { limit, offset: 0, from: PageStart::Key(key) })
            }
            (Some(limit), Some(offset), None) => Some(Slice { limit, offset, from: PageStart::Offset(offset) }),
            _ => None,
        };
        let refused = matches!(read, Err(Error::Invalid { .. }));
        prop_assert_eq!(read.ok(), expected, "{:?}", pairs);
        prop_assert_eq!(refused, expected.is_none());
    }
}

/// The expected limit: any whole number above 0, capped at 100.
fn at_most_100(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let significant = digits.trim_start_matches('0');
    match significant.len() {
        _ if !plain => None,
        0 => None,
        1..=3 => significant.parse().ok().map(|limit: i64| limit.min(100)),
        _ => Some(100),
    }
}
