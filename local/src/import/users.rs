//! The file that maps users of an earlier service to users of Parlor.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use common::governance::auth::Role;
use serde::{Deserialize, Serialize};
use sqlx::Connection as _;

use super::{
    Kind, Service,
    report::Report,
    row::Issue,
    source::Source,
    target::{self, Target},
};
use crate::{command::AnyError, terminal};

/// Only for reports and `parlor_import.ids`.
const USER: Kind = Kind {
    name: "user",
    count: "",
    numbers: None,
};

/// A line of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Line {
    earlier_user_id: String,
    site_id: Option<i64>,
    /// `None`: a new user.
    parlor_user_id: Option<i64>,
    nickname: String,
    role: String,
    /// Of a new user; `pending` by default.
    #[serde(default)]
    status: Option<String>,
}

impl Line {
    /// The id in `parlor_import.ids`.
    fn key(&self) -> String {
        format!(
            "{}@{}",
            self.earlier_user_id,
            self.site_id.unwrap_or_default()
        )
    }
}

/// A user of Parlor.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    /// 0 in a dry run, if the user is new.
    pub id: i64,
    pub site_id: i64,
}

/// The mapping.
pub(super) struct Users {
    lines: Vec<Line>,
    /// By earlier id and site.
    by_key: HashMap<(String, i64), User>,
    /// Sites by earlier id.
    sites: HashMap<String, BTreeSet<i64>>,
    /// Time zones of all sites of Parlor.
    pub zones: BTreeMap<i64, String>,
}

impl Users {
    /// Reads the file and compares it with the users of Parlor.
    ///
    /// # Errors
    /// Names the lines that are wrong.
    pub(super) async fn read(file: &Path, target: &mut Target) -> Result<Self, AnyError> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_path(file)?;
        let mut users = Self {
            lines: Vec::new(),
            by_key: HashMap::new(),
            sites: HashMap::new(),
            zones: target.sites.clone(),
        };
        for line in reader.deserialize() {
            users.lines.push(line?);
        }
        let ids: Vec<i64> = users
            .lines
            .iter()
            .filter_map(|line| line.parlor_user_id)
            .collect();
        let existing: Vec<(i64, Option<i64>)> =
            sqlx::query_as("select id, site_id from biz.users where id = any($1)")
                .bind(&ids)
                .fetch_all(&mut target.connection)
                .await?;
        let existing: HashMap<i64, Option<i64>> = existing.into_iter().collect();
        let keys: Vec<String> = users.lines.iter().map(Line::key).collect();
        let created = target.known(USER.name, &keys).await?;
        let mut seen = BTreeSet::new();
        for at in 0..users.lines.len() {
            let line = &mut users.lines[at];
            if line.parlor_user_id.is_none() {
                line.parlor_user_id = created.get(&line.key()).and_then(|id| id.parse().ok());
            }
            // The first line has the names of the columns.
            let wrong =
                |what: &str| AnyError::from(format!("{}:{}: {what}", file.display(), at + 2));
            let site = line.site_id.ok_or_else(|| wrong("site_id is missing"))?;
            check(line, site, &users.zones).map_err(|what| wrong(&what))?;
            if let Some(id) = line.parlor_user_id {
                if !seen.insert(id) {
                    return Err(wrong("another line has the same parlor_user_id"));
                }
                if existing.get(&id).is_some_and(|of| *of != Some(site)) {
                    return Err(wrong("this user of Parlor belongs to another site"));
                }
            }
            users.add(at, site).map_err(wrong)?;
        }
        Ok(users)
    }

    fn add(&mut self, at: usize, site_id: i64) -> Result<(), &'static str> {
        let line = &self.lines[at];
        let id = line.parlor_user_id.unwrap_or_default();
        let key = (line.earlier_user_id.clone(), site_id);
        self.sites
            .entry(line.earlier_user_id.clone())
            .or_default()
            .insert(site_id);
        match self.by_key.insert(key, User { id, site_id }) {
            None => Ok(()),
            Some(_) => Err("another line has the same earlier_user_id and site_id"),
        }
    }

    /// Creates the users that Parlor does not have. Existing users are not changed.
    pub(super) async fn create(
        &mut self,
        target: &mut Target,
        report: &mut Report,
    ) -> Result<(), AnyError> {
        let ids: Vec<i64> = self
            .lines
            .iter()
            .filter_map(|line| line.parlor_user_id)
            .collect();
        let existing: Vec<i64> = sqlx::query_scalar("select id from biz.users where id = any($1)")
            .bind(&ids)
            .fetch_all(&mut target.connection)
            .await?;
        let existing: BTreeSet<i64> = existing.into_iter().collect();
        report.found(&USER, self.lines.len() as u64);
        let mut tx = target.connection.begin().await?;
        let mut remembered = Vec::new();
        for line in &mut self.lines {
            if line.parlor_user_id.is_some_and(|id| existing.contains(&id)) {
                report.imported_before(&USER);
                continue;
            }
            report.imported(&USER, &line.earlier_user_id, &[])?;
            if target.dry_run {
                continue;
            }
            let id: i64 = sqlx::query_scalar(
                "insert into biz.users (id, site_id, nickname, role, status)
                 values (coalesce($1, nextval(pg_get_serial_sequence('biz.users', 'id'))), $2, $3, $4, $5) returning id",
            )
            .bind(line.parlor_user_id)
            .bind(line.site_id)
            .bind(&line.nickname)
            .bind(&line.role)
            .bind(line.status.as_deref().unwrap_or("pending"))
            .fetch_one(&mut *tx)
            .await?;
            if line.parlor_user_id.is_none() {
                remembered.push((line.key(), id.to_string(), None));
            }
            line.parlor_user_id = Some(id);
            if let Some(user) = self.by_key.get_mut(&(
                line.earlier_user_id.clone(),
                line.site_id.unwrap_or_default(),
            )) {
                user.id = id;
            }
        }
        if !target.dry_run {
            sqlx::query(
                "select setval(s, greatest((select max(id) from biz.users), nextval(s)))
                 from (select pg_get_serial_sequence('biz.users', 'id')::regclass) t (s)",
            )
            .execute(&mut *tx)
            .await?;
            target::remember(&mut tx, target.service, USER.name, remembered).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The user of an earlier id at a site. Without a site, the user must be in one line only.
    pub(super) fn find(&self, earlier: &str, site_id: Option<i64>) -> Result<User, Issue> {
        let site_id = match (site_id, self.sites.get(earlier)) {
            (Some(site_id), _) => site_id,
            (None, Some(sites)) if sites.len() == 1 => *sites.first().unwrap_or(&0),
            (None, Some(_)) => {
                return Err(Issue::with(
                    "the file of users has its user at several sites",
                    earlier,
                ));
            }
            (None, None) => {
                return Err(Issue::with("its user is not in the file of users", earlier));
            }
        };
        let user = self.by_key.get(&(earlier.to_owned(), site_id));
        user.copied().ok_or_else(|| {
            let word = format!("user {earlier}, site {site_id}");
            Issue::with("the file of users does not have its user at its site", word)
        })
    }

    /// The only site of the file, if it has only one.
    pub(super) fn only_site(&self) -> Option<i64> {
        let sites: BTreeSet<i64> = self.sites.values().flatten().copied().collect();
        sites.first().copied().filter(|_| sites.len() == 1)
    }

    /// Checks that Parlor has the site of a row.
    pub(super) fn site(&self, site_id: i64) -> Result<i64, Issue> {
        if self.zones.contains_key(&site_id) {
            Ok(site_id)
        } else {
            Err(Issue::with(
                "Parlor does not have its site",
                site_id.to_string(),
            ))
        }
    }
}

fn check(line: &Line, site: i64, zones: &BTreeMap<i64, String>) -> Result<(), String> {
    if line.earlier_user_id.is_empty() || line.nickname.is_empty() {
        return Err("earlier_user_id or nickname is empty".to_owned());
    }
    if !zones.contains_key(&site) {
        return Err(format!(
            "Parlor has no site {site}; insert it into biz.sites first"
        ));
    }
    match Role::parse(&line.role) {
        Some(Role::Admin) => Err("a platform admin has no chats".to_owned()),
        Some(_) => match line.status.as_deref() {
            None | Some("pending" | "approved" | "disabled") => Ok(()),
            Some(_) => Err("status must be pending, approved or disabled".to_owned()),
        },
        None => {
            let words = Role::ALL.map(Role::name).join(", ");
            Err(format!(
                "unknown role {:?}; expected one of {words}",
                line.role
            ))
        }
    }
}

/// A row of `find_users.sql`: earlier id, site, Parlor id, nickname, role, status.
type Found = (
    String,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// Writes a file with the users that are found, for `--users`.
pub(super) async fn write(
    source: &mut Source,
    service: Service,
    file: &Path,
) -> Result<(), AnyError> {
    let has_users: bool = sqlx::query_scalar("select to_regclass('users') is not null")
        .fetch_one(&mut source.connection)
        .await?;
    let select = match (service, has_users) {
        (Service::Flask, _) => include_str!("flask/find_users.sql"),
        (Service::Fastapi, true) => include_str!("fastapi/find_users.sql"),
        (Service::Fastapi, false) => include_str!("fastapi/find_users_of_chats.sql"),
    };
    let found: Vec<Found> = sqlx::query_as(select)
        .fetch_all(&mut source.connection)
        .await?;
    let mut writer = csv::Writer::from_path(file)?;
    for (earlier_user_id, site_id, parlor_user_id, nickname, role, status) in &found {
        let known = |word: &&String, words: &[&str]| words.contains(&word.as_str());
        let role = role
            .as_ref()
            .filter(|role| known(role, &Role::ALL.map(Role::name)));
        let status = status
            .as_ref()
            .filter(|status| known(status, &["pending", "approved", "disabled"]));
        writer.serialize(Line {
            nickname: nickname.clone().unwrap_or_else(|| earlier_user_id.clone()),
            role: role.map_or("staff", |role| role).to_owned(),
            status: Some(status.map_or("pending", |status| status).to_owned()),
            earlier_user_id: earlier_user_id.clone(),
            site_id: *site_id,
            parlor_user_id: *parlor_user_id,
        })?;
    }
    writer.flush()?;
    terminal::print_line(format!(
        "{} users written to {}: check site, Parlor id, role and status of each",
        found.len(),
        file.display()
    ));
    Ok(())
}
