//! Administrators, and the sites that each may access.

use super::{MachineKey, Role, User};
use crate::platform::error::{Error, Reason, Result};

/// Name of the site id in queries and bodies.
pub const SITE_ID: &str = "site_id";

/// An approved administrator of a site or of the platform.
///
/// It has no public site: [`Admin::site`] and [`Admin::scope`] check access before they return
/// one.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The user id for the audit log.
    pub user_id: i64,
    pub(crate) reach: SiteScope,
    /// The machine key that makes the request in place of the admin who created it.
    api_key_id: Option<i64>,
}

/// Who makes a change, for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The admin.
    pub user_id: i64,
    /// The machine key. `user_id` is then the admin who created it.
    pub api_key_id: Option<i64>,
}

impl From<i64> for Actor {
    fn from(user_id: i64) -> Self {
        Self {
            user_id,
            api_key_id: None,
        }
    }
}

/// An approved administrator of the platform, who may change what belongs to no site.
#[derive(Clone, Debug)]
pub struct PlatformAdmin {
    /// The user id for the audit log.
    pub user_id: i64,
}

impl PlatformAdmin {
    /// # Errors
    /// [`Error::Forbidden`] if the admin is that of a site.
    pub(crate) fn of(admin: &Admin) -> Result<Self> {
        match admin.reach {
            SiteScope::One(_) => Err(Error::Forbidden),
            SiteScope::All => Ok(Self {
                user_id: admin.user_id,
            }),
        }
    }
}

/// The sites that a request reads: the site of the parameter `site_id`, or all sites of the admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteScope {
    /// The site with this id.
    One(i64),
    /// All sites of the platform.
    All,
}

impl SiteScope {
    /// The parameter for SQL statements: `None` (null) means all sites.
    pub const fn site_id(self) -> Option<i64> {
        match self {
            Self::One(site_id) => Some(site_id),
            Self::All => None,
        }
    }

    /// The sites that a request reads: the requested site, or all sites of this scope.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if the requested site is not in this scope.
    fn narrow(self, requested: Option<i64>) -> Result<Self> {
        match (self, requested) {
            (reach, None) => Ok(reach),
            (Self::One(own), Some(requested)) if own != requested => Err(Error::Forbidden),
            (_, Some(requested)) => Ok(Self::One(requested)),
        }
    }
}

/// A user who may read the desk: an approved admin, or a viewer of a site.
pub(crate) struct Reader {
    reach: SiteScope,
}

impl Reader {
    /// Makes a `Reader` of a user.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for other users.
    pub fn of(user: &User) -> Result<Self> {
        let reach = match (user.role, user.site_id) {
            (Role::Viewer, Some(site_id)) => SiteScope::One(site_id),
            _ => Admin::of(user)?.reach,
        };
        Ok(Self { reach })
    }

    /// The sites that a request reads: the requested site, or all sites of this user.
    pub fn scope(&self, requested: Option<i64>) -> Result<SiteScope> {
        self.reach.narrow(requested)
    }
}

impl Admin {
    /// The site that a request changes. A site admin's own site is the default. Does not check
    /// that the site exists.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if a site admin requests another site. [`Error::Invalid`] if a
    /// platform admin requests none.
    pub fn site(&self, requested: Option<i64>) -> Result<i64> {
        match self.scope(requested)? {
            SiteScope::One(site_id) => Ok(site_id),
            SiteScope::All => Err(Error::invalid(SITE_ID, Reason::Missing)),
        }
    }

    /// The sites that a request changes: one, as [`Admin::site`], or all sites if the request
    /// names null.
    ///
    /// # Errors
    /// Those of [`Admin::site`]. [`Error::Forbidden`] if a site admin requests all sites.
    pub fn site_or_all(&self, requested: Option<Option<i64>>) -> Result<SiteScope> {
        match requested {
            Some(None) if self.is_of_platform() => Ok(SiteScope::All),
            Some(None) => Err(Error::Forbidden),
            Some(site_id) => self.site(site_id).map(SiteScope::One),
            None => self.site(None).map(SiteScope::One),
        }
    }

    /// True for a platform admin.
    pub(crate) fn is_of_platform(&self) -> bool {
        self.reach == SiteScope::All
    }

    /// The sites that a request reads: the requested site, or all sites of this user.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if a site admin requests another site.
    pub fn scope(&self, requested: Option<i64>) -> Result<SiteScope> {
        self.reach.narrow(requested)
    }

    /// Makes an `Admin` of a user.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if the user is not an admin.
    pub(crate) fn of(user: &User) -> Result<Self> {
        let reach = match (user.role, user.site_id) {
            (Role::SiteAdmin, Some(site_id)) => SiteScope::One(site_id),
            (Role::Admin, None) => SiteScope::All,
            _ => return Err(Error::Forbidden),
        };
        Ok(Self {
            user_id: user.id,
            reach,
            api_key_id: None,
        })
    }

    /// A machine key in place of an admin. The caller has checked the scope of the key.
    pub(crate) fn of_key(key: &MachineKey) -> Self {
        Self {
            user_id: key.created_by,
            reach: key.reach,
            api_key_id: Some(key.id),
        }
    }

    /// Who makes the change. Routes for machine keys pass this to the audit log.
    pub fn actor(&self) -> Actor {
        Actor {
            user_id: self.user_id,
            api_key_id: self.api_key_id,
        }
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
    fn only_a_site_admin_with_a_site_or_a_platform_admin_without_one_is_an_admin() {
        for role in [Role::Viewer, Role::Coach, Role::Staff, Role::Manager] {
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
    fn a_site_admin_gets_only_its_own_site() {
        let admin = site_admin();
        for requested in [None, Some(1)] {
            assert_eq!(admin.site(requested).unwrap(), 1);
            assert_eq!(admin.scope(requested).unwrap(), SiteScope::One(1));
        }
        for requested in [2, 0, -1, i64::MAX] {
            assert!(matches!(admin.site(Some(requested)), Err(Error::Forbidden)));
            assert!(matches!(
                admin.scope(Some(requested)),
                Err(Error::Forbidden)
            ));
        }
    }

    #[test]
    fn only_a_platform_admin_changes_all_sites_at_once() {
        let (own, of_platform) = (site_admin(), platform_admin());
        assert_eq!(own.site_or_all(None).unwrap(), SiteScope::One(1));
        assert!(matches!(own.site_or_all(Some(None)), Err(Error::Forbidden)));
        assert!(matches!(
            own.site_or_all(Some(Some(2))),
            Err(Error::Forbidden)
        ));
        assert_eq!(of_platform.site_or_all(Some(None)).unwrap(), SiteScope::All);
        assert_eq!(
            of_platform.site_or_all(Some(Some(2))).unwrap(),
            SiteScope::One(2)
        );
        assert!(of_platform.site_or_all(None).is_err());
    }

    #[test]
    fn a_platform_admin_reads_all_sites_but_must_name_the_site_to_change() {
        let admin = platform_admin();
        assert_eq!(admin.scope(None).unwrap(), SiteScope::All);
        assert_eq!(admin.scope(Some(2)).unwrap(), SiteScope::One(2));
        assert_eq!(admin.site(Some(2)).unwrap(), 2);
        let Err(Error::Invalid { field, reason }) = admin.site(None) else {
            panic!("expected an error without a site")
        };
        assert_eq!((&*field, reason), ("site_id", Reason::Missing));
    }

    #[test]
    fn all_sites_are_none_in_a_statement() {
        assert_eq!(SiteScope::One(2).site_id(), Some(2));
        assert_eq!(SiteScope::All.site_id(), None);
    }
}
