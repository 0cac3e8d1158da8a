//! Who administers, and which sites.

use super::{Role, User};
use crate::platform::error::{Error, Reason, Result};

/// How a site is named in query and body.
pub const SITE_ID: &str = "site_id";

/// An approved administrator, of a site or of the platform. There is no site in it to be taken
/// unasked: [`Admin::site`] and [`Admin::scope`] answer one, or refuse.
#[derive(Clone, Debug)]
pub struct Admin {
    /// User, for audit.
    pub user_id: i64,
    pub(crate) reach: SiteScope,
}

/// The sites that something is read of: what the query asks for with `site_id`, or all that the admin has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteScope {
    /// One site.
    One(i64),
    /// Every site of the platform.
    All,
}

impl SiteScope {
    /// The one site, as a statement is given it; none for all.
    pub const fn site_id(self) -> Option<i64> {
        match self {
            Self::One(site_id) => Some(site_id),
            Self::All => None,
        }
    }
}

impl Admin {
    /// The site that something is set or started at. Whether a site that a platform admin names
    /// exists, only the statement knows.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when a site admin names another site, [`Error::Invalid`] when a
    /// platform admin names none.
    pub fn site(&self, asked: Option<i64>) -> Result<i64> {
        match self.scope(asked)? {
            SiteScope::One(site_id) => Ok(site_id),
            SiteScope::All => Err(Error::invalid(SITE_ID, Reason::Missing)),
        }
    }

    /// The sites that something is read of: those asked for, or all that this admin has.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when a site admin names another site.
    pub fn scope(&self, asked: Option<i64>) -> Result<SiteScope> {
        match (self.reach, asked) {
            (reach, None) => Ok(reach),
            (SiteScope::One(own), Some(asked)) if own != asked => Err(Error::Forbidden),
            (_, Some(asked)) => Ok(SiteScope::One(asked)),
        }
    }

    /// The admin that a user is.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the user is no admin.
    pub(crate) fn of(user: &User) -> Result<Self> {
        let reach = match (user.role, user.site_id) {
            (Role::SiteAdmin, Some(site_id)) => SiteScope::One(site_id),
            (Role::Admin, None) => SiteScope::All,
            _ => return Err(Error::Forbidden),
        };
        Ok(Self {
            user_id: user.id,
            reach,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(role: Role, site_id: Option<i64>) -> User {
        User {
            id: 7,
            site_id,
            nickname: String::new(),
            role,
            approved: true,
        }
    }

    fn site_admin() -> Admin {
        Admin::of(&user(Role::SiteAdmin, Some(1))).unwrap()
    }

    fn platform_admin() -> Admin {
        Admin::of(&user(Role::Admin, None)).unwrap()
    }

    #[test]
    fn only_admins_are_admins_and_only_with_the_site_that_belongs_to_their_role() {
        for role in [Role::Coach, Role::Staff, Role::Manager] {
            for site_id in [None, Some(1)] {
                let refused = Admin::of(&user(role, site_id));
                assert!(matches!(refused, Err(Error::Forbidden)), "{role:?}");
            }
        }
        for (role, site_id) in [(Role::SiteAdmin, None), (Role::Admin, Some(1))] {
            let refused = Admin::of(&user(role, site_id));
            assert!(matches!(refused, Err(Error::Forbidden)), "{role:?}");
        }
        assert_eq!((site_admin().user_id, platform_admin().user_id), (7, 7));
    }

    #[test]
    fn a_site_admin_gets_its_own_site_named_or_not_and_no_other() {
        let admin = site_admin();
        for asked in [None, Some(1)] {
            assert_eq!(admin.site(asked).unwrap(), 1);
            assert_eq!(admin.scope(asked).unwrap(), SiteScope::One(1));
        }
        for asked in [2, 0, -1, i64::MAX] {
            assert!(matches!(admin.site(Some(asked)), Err(Error::Forbidden)));
            assert!(matches!(admin.scope(Some(asked)), Err(Error::Forbidden)));
        }
    }

    #[test]
    fn a_platform_admin_reads_all_sites_and_names_the_one_that_it_changes() {
        let admin = platform_admin();
        assert_eq!(admin.scope(None).unwrap(), SiteScope::All);
        assert_eq!(admin.scope(Some(2)).unwrap(), SiteScope::One(2));
        assert_eq!(admin.site(Some(2)).unwrap(), 2);
        let Err(Error::Invalid { field, reason }) = admin.site(None) else {
            panic!("a site out of nowhere")
        };
        assert_eq!((&*field, reason), ("site_id", Reason::Missing));
    }

    #[test]
    fn a_statement_is_given_one_site_or_none_for_all() {
        assert_eq!(SiteScope::One(2).site_id(), Some(2));
        assert_eq!(SiteScope::All.site_id(), None);
    }
}
