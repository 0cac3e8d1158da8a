//! The date range of a query: `date_from` and `date_to`. Each is a day of the site or an instant.

use chrono::{DateTime, Days, NaiveDate, Utc};

use super::error::{Error, Reason, Result};

/// The accepted years. PostgreSQL supports more, but no log needs them.
const YEARS: std::ops::RangeInclusive<&str> = "0001"..="9999";

/// The format of a day, by example.
const DAY: &str = "2026-11-21";

/// Parses a day with four digits for the year and two for month and day.
pub(crate) fn day(text: &str) -> Option<NaiveDate> {
    let is_padded = text.len() == DAY.len() && has_a_year(text);
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    is_padded.then(day).flatten()
}

fn has_a_year(text: &str) -> bool {
    text.get(..4).is_some_and(|year| YEARS.contains(&year))
}

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A whole day in the time zone of the site.
    Day(NaiveDate),
    /// A point in time.
    At(DateTime<Utc>),
}

impl Moment {
    /// Parses `2026-11-21`, or an RFC 3339 time with an offset.
    fn parse(text: &str) -> Option<Self> {
        if text.len() == DAY.len() {
            return day(text).map(Self::Day);
        }
        let at = DateTime::parse_from_rfc3339(text).ok();
        let at = at.filter(|_| has_a_year(text))?;
        Some(Self::At(at.with_timezone(&Utc)))
    }

    const fn day(self) -> Option<NaiveDate> {
        match self {
            Self::Day(day) => Some(day),
            Self::At(_) => None,
        }
    }

    const fn at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Day(_) => None,
            Self::At(at) => Some(at),
        }
    }

    /// The day, for an approximate comparison. For an instant, it is the day in UTC.
    fn about(self) -> NaiveDate {
        self.day()
            .unwrap_or_else(|| self.at().unwrap_or_default().date_naive())
    }
}

/// A date range, both ends inclusive. `None` means open.
///
/// A statement passes the four parts to the SQL function `date_range`, which knows the time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DateRange {
    from: Option<Moment>,
    to: Option<Moment>,
}

impl DateRange {
    /// Reads the texts of `date_from` and `date_to`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a text is neither a day nor an instant, or if `to` is before `from`.
    pub fn new(from: Option<&str>, to: Option<&str>) -> Result<Self> {
        let moment = |name, text: Option<&str>| {
            text.map(|text| Moment::parse(text).ok_or(Error::invalid(name, Reason::NotADate)))
                .transpose()
        };
        let range = Self {
            from: moment("date_from", from)?,
            to: moment("date_to", to)?,
        };
        let backwards = match (range.from, range.to) {
            (Some(Moment::At(from)), Some(Moment::At(to))) => to < from,
            (Some(Moment::Day(from)), Some(Moment::Day(to))) => to < from,
            // The order of a day and an instant depends on the time zone of the site.
            _ => false,
        };
        if backwards {
            return Err(Error::invalid("date_to", Reason::Backwards));
        }
        Ok(range)
    }

    /// Requires a range with two ends and at most this number of days.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn at_most(self, days: u32) -> Result<Self> {
        let from = self
            .from
            .ok_or(Error::invalid("date_from", Reason::Missing))?;
        let to = self.to.ok_or(Error::invalid("date_to", Reason::Missing))?;
        let last = from.about().checked_add_days(Days::new(u64::from(days)));
        if last.is_none_or(|last| to.about() >= last) {
            return Err(Error::invalid(
                "date_to",
                Reason::TooManyDays(i64::from(days)),
            ));
        }
        Ok(self)
    }

    /// The first day, if the range starts with a day.
    pub fn from_day(&self) -> Option<NaiveDate> {
        self.from.and_then(Moment::day)
    }

    /// The first instant, if the range starts with an instant.
    pub fn from_at(&self) -> Option<DateTime<Utc>> {
        self.from.and_then(Moment::at)
    }

    /// The last day, if the range ends with a day.
    pub fn to_day(&self) -> Option<NaiveDate> {
        self.to.and_then(Moment::day)
    }

    /// The last instant, if the range ends with an instant.
    pub fn to_at(&self) -> Option<DateTime<Utc>> {
        self.to.and_then(Moment::at)
    }
}

impl std::fmt::Display for DateRange {
    /// The text that is part of the scope of a cursor.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = |moment: Option<Moment>| match moment {
            None => String::new(),
            Some(Moment::Day(day)) => day.to_string(),
            Some(Moment::At(at)) => at.timestamp_micros().to_string(),
        };
        write!(f, "{}..{}", end(self.from), end(self.to))
    }
}

#[cfg(test)]
mod properties;
