//! Any path, query or header is parsed, or rejected with an error that names the field.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::properties::{cases, encoded, number, query, raw_query, text, whole};

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn parameter_is_unchanged_and_rejected_if_repeated_or_with_nul(
        pairs in vec((prop_oneof![3 => Just("page".to_owned()), 1 => text()], text()), 0..4),
        space in select(vec!["+", "%20"]),
    ) {
        let query = raw_query(&encoded(&pairs).replace("%20", space));
        let sent: Vec<&String> = pairs.iter().filter(|(name, _)| name == "page").map(|(_, value)| value).collect();
        match (query.text("page"), &*sent) {
            (Ok(None), []) => {}
            (Ok(Some(read)), [value]) => {
                prop_assert_eq!(read, *value);
                prop_assert!(!read.contains('\0'));
            }
            (Err(Error::Invalid { field, reason }), _) => {
                prop_assert_eq!(field, "page");
                let right = match reason {
                    Reason::Repeated => sent.len() > 1,
                    Reason::Nul => sent.len() == 1 && sent[0].contains('\0'),
                    _ => false,
                };
                prop_assert!(right, "{:?}", reason);
            }
            (read, _) => prop_assert!(false, "{:?} of {:?}", read, pairs),
        }
    }

    #[test]
    fn any_query_is_parsed_or_rejected(
        query in prop_oneof![
            "[!$-;=?-Z_a-z~%&+]{0,30}",
            vec(select(vec!["page", "=", "&", "%", "%0", "%00", "%FF", "%E6%94", "+", "1", "%31"]), 0..8)
                .prop_map(|pieces| pieces.concat()),
        ],
    ) {
        let query = raw_query(&query);
        for read in [query.text("page").map(drop), query.integer("page", 1, 9).map(drop)] {
            let is_documented = matches!(read, Ok(()) | Err(Error::Invalid { .. }));
            prop_assert!(is_documented);
        }
    }

    #[test]
    fn number_is_accepted_exactly_if_whole_and_within_bounds(text in number(), least in -3..5_i64, most in 0..120_i64) {
        let fits = whole(&text).filter(|number| (least..=most).contains(number));
        let read = query(&[("page", &text)]).integer("page", least, most);
        prop_assert_eq!(read.ok(), fits.map(Some));
    }

    #[test]
    fn id_is_accepted_exactly_if_whole_and_positive(text in number()) {
        let path = PathText(HashMap::from([("chatId".to_owned(), text.clone())]));
        let fits = whole(&text).filter(|id| *id > 0);
        prop_assert_eq!(path.id("chatId").ok(), fits);
        prop_assert!(path.id("messageId").is_err());
    }

    #[test]
    fn uuid_is_accepted_only_in_its_hyphenated_form(
        id in any::<u128>().prop_map(Uuid::from_u128),
        upper in any::<bool>(),
        odd in prop_oneof![text(), "[0-9a-f-]{30,40}", "(?s).{36}"],
    ) {
        let written = id.hyphenated().to_string();
        let written = if upper { written.to_uppercase() } else { written };
        prop_assert_eq!(uuid("id", &written).unwrap(), id);
        prop_assert_eq!(query(&[("id", &written)]).uuid("id").unwrap(), Some(id));
        let others = [
            id.simple().to_string(),
            id.braced().to_string(),
            id.urn().to_string(),
            format!(" {written}"),
            written[1..].to_owned(),
        ];
        for other in others {
            let refused = matches!(uuid("id", &other), Err(Error::Invalid { reason: Reason::NotAnId, .. }));
            prop_assert!(refused, "{}", other);
        }
        if let Ok(id) = uuid("id", &odd) {
            prop_assert_eq!(id.hyphenated().to_string(), odd.to_lowercase());
        }
    }

    #[test]
    fn header_is_unchanged_and_rejected_if_repeated(
        values in vec(vec(any::<u8>().prop_filter("of a header", |byte| *byte >= 32 && *byte != 127), 0..20), 0..4),
    ) {
        let mut headers = HeaderMap::new();
        for value in &values {
            headers.append("idempotency-key", http::HeaderValue::from_bytes(value).unwrap());
        }
        headers.append("x-other", http::HeaderValue::from_static("x"));
        let headers = HeaderText(headers);
        match (headers.once("Idempotency-Key"), &*values) {
            (Ok(None), []) | (Err(Error::Invalid { reason: Reason::Repeated, .. }), [_, _, ..]) => {}
            (Ok(Some(read)), [value]) => prop_assert_eq!(read, &**value),
            (read, _) => prop_assert!(false, "{:?}", read),
        }
    }
}
