//! Demo data: two sites, their staff, and a conversation to begin with.

use std::time::Duration;

use common::{
    auth::{self, Role, User},
    db::Db,
};
use secrecy::SecretString;

/// How long a printed token holds.
const TOKEN_VALID_FOR: Duration = Duration::from_secs(12 * 3600);

/// The demo users: id, site, nickname, role, and whether approved.
const USERS: [(i64, Option<i64>, &str, Role, &str); 9] = [
    (1001, Some(1), "阿杰", Role::Coach, "approved"),
    (1002, Some(1), "小雅", Role::Staff, "approved"),
    (1003, Some(1), "王店长", Role::Manager, "approved"),
    (1004, Some(1), "陈管理", Role::SiteAdmin, "approved"),
    (1005, Some(1), "新来的教练", Role::Coach, "pending"),
    (1006, Some(1), "离职员工", Role::Staff, "disabled"),
    (2001, Some(2), "阿豪", Role::Coach, "approved"),
    (2004, Some(2), "李管理", Role::SiteAdmin, "approved"),
    (9001, None, "平台管理员", Role::Admin, "approved"),
];

/// A demo user by id.
pub fn user(id: i64) -> Option<User> {
    let &(id, site_id, nickname, role, status) = USERS.iter().find(|user| user.0 == id)?;
    Some(User {
        id,
        site_id,
        nickname: nickname.to_owned(),
        role,
        approved: status == "approved",
    })
}

/// All demo users, with a word about each.
pub fn users() -> impl Iterator<Item = (User, &'static str)> {
    USERS
        .iter()
        .filter_map(|&(id, .., status)| Some((user(id)?, status)))
}

/// A token for a user, valid 12 hours.
pub fn token(secret: &SecretString, user: &User) -> Option<String> {
    auth::sign(secret, user, TOKEN_VALID_FOR)
}

/// Loads the demo data, once: what is there already stays as it is.
///
/// # Errors
/// When a statement fails.
pub async fn load(db: &Db) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "insert into biz.sites (id, name) values (1, '星空台球·旗舰店'), (2, '夜场俱乐部') on conflict do nothing",
    )
    .execute(db)
    .await?;
    for (id, site_id, nickname, role, status) in USERS {
        sqlx::query(
            "insert into biz.users (id, site_id, nickname, role, status) values ($1, $2, $3, $4, $5) on conflict do nothing",
        )
        .bind(id)
        .bind(site_id)
        .bind(nickname)
        .bind(role.name())
        .bind(status)
        .execute(db)
        .await?;
    }
    Ok(())
}

/// A conversation of a demo user to try things in, made where there is none.
///
/// # Errors
/// When the statement fails.
pub async fn conversation(db: &Db, user: &User) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select biz.open_conversation($1, $2, 'task', 'demo')")
        .bind(user.site_id)
        .bind(user.id)
        .fetch_one(db)
        .await
}
