//! `token`: prints a token for a user of a database.

use std::path::Path;

use clap::Args;
use common::{
    governance::auth::{self, Role, User},
    platform::{
        db::{self, DatabaseConfig, Db},
        env::Env,
    },
};
use secrecy::SecretString;

use crate::{
    command::{self, AnyError},
    data_dir, database, demo, terminal,
};

/// Options of `token`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Id of a demo user or of a user in the database.
    user_id: Option<i64>,
    /// Take a user with this role: `viewer`, `coach`, `staff`, `manager`, `site_admin` or `admin`.
    #[arg(long, value_parser = parse_role, conflicts_with = "user_id")]
    role: Option<Role>,
    /// Take a user of this site. An admin has no site.
    #[arg(long, value_name = "ID", requires = "role")]
    site: Option<i64>,
    /// The database; by default that of a running `serve`, or else the demo users.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

fn parse_role(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| {
        let words = Role::ALL.map(Role::name).join(", ");
        format!("expected one of {words}")
    })
}

/// Prints only the token, so that the output can be assigned to a variable.
pub(crate) async fn run(options: Options, home: Option<&Path>, env: Env) -> Result<(), AnyError> {
    let secret = command::jwt_secret(home, &env)?;
    let data_dir = data_dir::open(home)?;
    let url = database::given_or_running(options.database_url.as_deref(), &data_dir)?;
    let user = match (options.role, options.user_id) {
        (Some(role), _) => with_role(options.site, role, url).await?,
        (None, Some(id)) => with_id(id, url).await?,
        (None, None) => {
            return Err("name a user: `token 1001`, or `token --site 1 --role coach`".into());
        }
    };
    terminal::print_line(demo::token(&secret, &user).ok_or("the token could not be signed")?);
    Ok(())
}

async fn with_id(id: i64, url: Option<SecretString>) -> Result<User, AnyError> {
    if let Some(user) = demo::user(id) {
        return Ok(user);
    }
    let Some(url) = url else {
        return Err("no such demo user; set DATABASE_URL for a user in a database".into());
    };
    let user = auth::find_user(&open(&url).await?, id).await?;
    user.ok_or_else(|| format!("no user {id} in {}", database::name_of(&url)).into())
}

async fn with_role(
    site: Option<i64>,
    role: Role,
    url: Option<SecretString>,
) -> Result<User, AnyError> {
    let Some(url) = url else {
        let users: Vec<User> = demo::users().filter(|user| user.approved).collect();
        let found = users
            .iter()
            .find(|user| user.role == role && (site.is_none() || user.site_id == site));
        return found
            .cloned()
            .ok_or_else(|| no_user(site, role, "the demo data", &users));
    };
    let name = database::name_of(&url);
    let db = open(&url).await?;
    let unreadable = |err| format!("cannot read biz.users of {name}; run `migrate` first ({err})");
    let id: Option<i64> = sqlx::query_scalar(
        "select min(id) from biz.users
         where status = 'approved' and role = $1 and ($2::bigint is null or site_id = $2)",
    )
    .bind(role.name())
    .bind(site)
    .fetch_one(&db)
    .await
    .map_err(unreadable)?;
    if let Some(id) = id
        && let Some(user) = auth::find_user(&db, id).await?
    {
        return Ok(user);
    }
    let ids: Vec<i64> = sqlx::query_scalar(
        "select min(id) from biz.users where status = 'approved'
         group by site_id, role order by site_id is distinct from $1, min(id) limit $2",
    )
    .bind(site)
    .bind(LISTED)
    .fetch_all(&db)
    .await
    .map_err(unreadable)?;
    let mut users = Vec::new();
    for id in ids {
        users.extend(auth::find_user(&db, id).await?);
    }
    Err(no_user(site, role, &name, &users))
}

async fn open(url: &SecretString) -> Result<Db, AnyError> {
    database::check(url).await?;
    Ok(db::connect_lazy(&DatabaseConfig {
        url: url.clone().into(),
        max_connections: 1,
        behind_proxy: false,
    })?)
}

/// Most users that the error lists, at most one for each site and role. Users of the named site
/// come first.
const LISTED: i64 = 12;

fn no_user(site: Option<i64>, role: Role, place: &str, users: &[User]) -> AnyError {
    let of_site = site.map_or(String::new(), |site| format!(" of site {site}"));
    let text = format!(
        "no approved user{of_site} has the role {} in {place}",
        role.name()
    );
    let listed: Vec<String> = users
        .iter()
        .map(|user| {
            let site = user
                .site_id
                .map_or("no site".to_owned(), |id| format!("site {id}"));
            format!("  token {}  ({site}, {})", user.id, user.role.name())
        })
        .collect();
    if listed.is_empty() {
        return format!(
            "{text}; it has no approved users. Add a row to biz.users with the status `approved`, \
             or start `serve` on it, which loads demo users"
        )
        .into();
    }
    format!(
        "{text}. Take one of these users, or add a row to biz.users:\n{}",
        listed.join("\n")
    )
    .into()
}
