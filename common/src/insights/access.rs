//! Who may read which results and figures. The same rules apply to insights, to the facts of a page
//! and to the results in a prompt.

use crate::governance::auth::{Caller, Role};

/// What a result or a page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Revenue of the site.
    Finance,
    /// Figures of all coaches.
    Coaches,
    /// Figures of one coach, by user id.
    Coach(i64),
    /// A member, also as part of a task or a note.
    Member,
}

/// The rules.
pub(crate) fn may_read(caller: &Caller, subject: Subject) -> bool {
    match subject {
        Subject::Finance | Subject::Coaches => caller.role.is_manager(),
        Subject::Coach(id) => caller.role.is_manager() || caller.user_id == id,
        Subject::Member => true,
    }
}

impl Role {
    /// True for managers and for all roles above them.
    pub(crate) const fn is_manager(self) -> bool {
        match self {
            Self::Manager | Self::SiteAdmin | Self::Admin => true,
            Self::Viewer | Self::Coach | Self::Staff => false,
        }
    }
}
