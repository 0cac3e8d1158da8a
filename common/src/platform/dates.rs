//! The days that an admin asks for: `date_from` and `date_to`, each a day of the site or an instant.

use chrono::{DateTime, Days, NaiveDate, Utc};

use super::error::{Error, Reason, Result};

/// The years that a date may be of: PostgreSQL knows more, nobody's log does.
const YEARS: std::ops::RangeInclusive<&str> = "0001"..="9999";

/// As a day is spelt.
const DAY: &str = "2026-11-21";

/// Reads a day that is spelt out.
pub(crate) fn day(text: &str) -> Option<NaiveDate> {
    let is_spelt_out = text.len() == DAY.len() && has_a_year(text);
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    is_spelt_out.then(day).flatten()
}

fn has_a_year(text: &str) -> bool {
    text.get(..4).is_some_and(|year| YEARS.contains(&year))
}

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// All of a day, in the site's zone.
    Day(NaiveDate),
    /// An instant.
    At(DateTime<Utc>),
}

impl Moment {
    /// Reads `2026-11-21`, or an instant with its offset as RFC 3339 has it.
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

    /// The UTC day, near enough to compare with another.
    fn about(self) -> NaiveDate {
        self.day()
            .unwrap_or_else(|| self.at().unwrap_or_default().date_naive())
    }
}

/// A date range, both ends inclusive. `None` means open.
///
/// A statement is given the four parts, and asks `date_range` what they are at its site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DateRange {
    from: Option<Moment>,
    to: Option<Moment>,
}

impl DateRange {
    /// Reads the texts of `date_from` and `date_to`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one is neither a day nor an instant, or the second is before the first.
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
            // Which of a day and an instant is first is for the site's zone to say.
            _ => false,
        };
        if backwards {
            return Err(Error::invalid("date_to", Reason::Backwards));
        }
        Ok(range)
    }

    /// Refuses a range that has an open end, or more days than this.
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

    /// The first day.
    pub fn from_day(&self) -> Option<NaiveDate> {
        self.from.and_then(Moment::day)
    }

    /// The first instant.
    pub fn from_at(&self) -> Option<DateTime<Utc>> {
        self.from.and_then(Moment::at)
    }

    /// The last day.
    pub fn to_day(&self) -> Option<NaiveDate> {
        self.to.and_then(Moment::day)
    }

    /// The last instant.
    pub fn to_at(&self) -> Option<DateTime<Utc>> {
        self.to.and_then(Moment::at)
    }
}

impl std::fmt::Display for DateRange {
    /// As a cursor is bound to it.
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
