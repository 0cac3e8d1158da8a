//! The forms of lists: a form that failed is shown again with the text that was sent.

use std::fmt::Display;

use common::{
    Error, Result,
    governance::auth::{Admin, SITE_ID, SiteScope},
    platform::error::Reason,
    web::FormText,
};

use crate::{desk::Desk, format::Choice};

/// The form that failed, if there is one.
#[derive(Default)]
pub(crate) struct Sent {
    action: String,
    id: String,
    fields: Vec<(String, String)>,
}

impl Sent {
    /// The fields of a form. `do` is its action, and `id` the item that it is about.
    pub fn of(form: &FormText) -> Self {
        let fields = form.pairs();
        let field = |name: &str| fields.iter().find(|(other, _)| other == name);
        let value = |name| field(name).map_or_else(String::new, |(_, value)| value.clone());
        Self {
            action: value("do"),
            id: value("id"),
            fields,
        }
    }

    /// The form of an action on an item. `id` is empty for a new item.
    pub fn form(&self, action: &str, id: impl Display) -> Form<'_> {
        let is_open = self.action == action && self.id == id.to_string();
        Form {
            fields: if is_open { &self.fields } else { &[] },
            is_open,
        }
    }
}

/// A form of a page.
pub(crate) struct Form<'a> {
    fields: &'a [(String, String)],
    /// True if this form failed.
    pub is_open: bool,
}

impl Form<'_> {
    /// The text of a field: what was sent, or else what is stored.
    pub fn value(&self, name: &str, stored: impl Display) -> String {
        if self.is_open {
            let sent = self.fields.iter().find(|(other, _)| other == name);
            sent.map_or_else(String::new, |(_, value)| value.clone())
        } else {
            stored.to_string()
        }
    }

    /// As [`Self::value`], for a field that may have no value.
    pub fn optional(&self, name: &str, stored: Option<&impl Display>) -> String {
        match stored {
            Some(stored) => self.value(name, stored),
            None => self.value(name, ""),
        }
    }

    /// True if a checkbox is checked.
    pub fn has(&self, name: &str, value: &str, is_stored: bool) -> bool {
        if self.is_open {
            self.fields
                .iter()
                .any(|(other, sent)| other == name && sent == value)
        } else {
            is_stored
        }
    }

    /// The options of a selection.
    pub fn choices(&self, desk: &Desk, name: &str, words: &[&str], stored: &str) -> Vec<Choice> {
        let current = self.value(name, stored);
        let words = words.iter().map(|word| Choice {
            value: (*word).to_owned(),
            text: desk.word(word).to_owned(),
            is_chosen: *word == current,
        });
        words.collect()
    }
}

/// The sites of a change that a platform admin may make for all sites: the chosen site, or all.
pub(crate) fn scope(desk: &Desk, admin: &Admin) -> Result<SiteScope> {
    let site_id = desk.query.integer(SITE_ID, 1, i64::MAX)?;
    if desk.is_of_platform() {
        admin.site_or_all(Some(site_id))
    } else {
        admin.site(site_id).map(SiteScope::One)
    }
}

/// A checkbox.
pub(crate) fn is_checked(form: &FormText, name: &'static str) -> Result<bool> {
    Ok(form.text(name)?.is_some())
}

/// The filter `name` of a list that shows `usual` first. `all` shows everything.
pub(crate) fn filter_or<T>(
    desk: &Desk,
    name: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
    usual: T,
) -> Result<Option<T>> {
    if desk.value(name) == ALL {
        return Ok(None);
    }
    Ok(Some(desk.query.one_of(name, parse)?.unwrap_or(usual)))
}

/// The value of [`filter_or`] that shows everything.
pub(crate) const ALL: &str = "all";

/// The options of [`filter_or`].
pub(crate) fn choices_or(desk: &Desk, name: &str, words: &[&str], usual: &str) -> Vec<Choice> {
    let current = desk.value(name);
    let current = if current.is_empty() { usual } else { current };
    let choice = |value: &str, text: &str| Choice {
        value: value.to_owned(),
        text: text.to_owned(),
        is_chosen: value == current,
    };
    let words = words.iter().map(|word| choice(word, desk.word(word)));
    words.chain([choice(ALL, desk.common.all)]).collect()
}

/// An id that a form must have.
pub(crate) fn id(form: &FormText, name: &'static str) -> Result<i64> {
    let id = form.integer(name, 1, i64::MAX)?;
    id.ok_or(Error::invalid(name, Reason::Missing))
}
