//! Names of users, for pages whose rows have only ids.

use std::collections::HashMap;

use common::{Result, governance::users, platform::db::Db};

use crate::format::Given;

/// The nicknames of the users of a page.
pub(crate) struct Names(HashMap<i64, String>);

impl Names {
    /// Reads the nicknames in one statement.
    pub async fn load(db: &Db, ids: impl IntoIterator<Item = i64>) -> Result<Self> {
        let mut ids: Vec<i64> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let names = if ids.is_empty() {
            HashMap::new()
        } else {
            users::nicknames(db, &ids).await?
        };
        Ok(Self(names))
    }

    /// The nickname. The id of a user that no longer exists.
    pub fn of(&self, id: impl Given<i64>) -> String {
        let id = id.given();
        self.0.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// The nickname with the id.
    pub fn with_id(&self, id: impl Given<i64>) -> String {
        let id = id.given();
        match self.0.get(&id) {
            Some(name) => format!("{name} ({id})"),
            None => id.to_string(),
        }
    }
}
