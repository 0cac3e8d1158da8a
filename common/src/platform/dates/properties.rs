//! Any text of a date gives a range that PostgreSQL accepts, or an error.

use proptest::prelude::*;

use super::*;
use crate::properties::{cases, query, text};

fn range(from: &str, to: &str) -> Result<DateRange> {
    DateRange::parse(&query(&[("date_from", from), ("date_to", to)]))
}

fn refusal(result: Result<DateRange>) -> (String, Reason) {
    match result {
        Err(Error::Invalid { field, reason }) => (field.into_owned(), reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn day_stays_a_day_and_instant_becomes_utc() {
    let read = range("2026-11-21", "2026-11-21T08:00:00+08:00").unwrap();
    assert_eq!(read.from_day(), NaiveDate::from_ymd_opt(2026, 11, 21));
    assert_eq!(read.from_at(), None);
    assert_eq!(read.to_day(), None);
    let midnight = DateTime::parse_from_rfc3339("2026-11-21T00:00:00Z").unwrap();
    assert_eq!(read.to_at(), Some(midnight.with_timezone(&Utc)));
}

#[test]
fn error_of_an_invalid_date_names_the_field() {
    for wrong in [
        "",
        "today",
        "2026-13-01",
        "2026-02-30",
        "2026-1-1",
        "20261121",
        "2026-11-21T08:00:00",
        "2026-11-21 08:00:00",
        "-2026-01-01",
        "+12026-01-01",
        "0000-01-01",
        "99999999999999999999",
    ] {
        let error = refusal(range(wrong, "2026-11-21"));
        assert_eq!(error, ("date_from".to_owned(), Reason::NotADate), "{wrong}");
    }
    let error = refusal(range("2026-11-22", "2026-11-21"));
    assert_eq!(error, ("date_to".to_owned(), Reason::Backwards));
}

#[test]
fn bounded_range_needs_both_ends_and_not_too_many_days() {
    let bounded = |from, to| range(from, to).unwrap().at_most(31);
    assert!(bounded("2026-10-01", "2026-10-31").is_ok());
    let error = refusal(bounded("2026-10-01", "2026-11-01"));
    assert_eq!(error, ("date_to".to_owned(), Reason::TooManyDays(31)));
    let open = DateRange::parse(&query(&[("date_to", "2026-10-01")])).unwrap();
    assert_eq!(
        refusal(open.at_most(31)),
        ("date_from".to_owned(), Reason::Missing)
    );
    let open = DateRange::parse(&query(&[("date_from", "2026-10-01")])).unwrap();
    assert_eq!(
        refusal(open.at_most(31)),
        ("date_to".to_owned(), Reason::Missing)
    );
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_text_is_a_date_or_an_error(
        from in prop_oneof![text(), "[0-9T:Z+-]{0,30}", "[0-9]{4}-[0-9]{2}-[0-9]{2}"],
        to in prop_oneof![text(), "[0-9]{4}-[0-9]{2}-[0-9]{2}"],
    ) {
        if let Ok(read) = range(&from, &to) {
            prop_assert!(read.from_day().is_some() != read.from_at().is_some());
            _ = read.at_most(31);
        }
    }
}
