//! Lists of words, and how texts are compared with them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aho_corasick::AhoCorasick;
use tokio::time::Instant;
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

use super::{OVERLAP, last_chars};
use crate::platform::{
    db::{Db, StatementTimeout},
    error::Result,
};

/// The name in `MODERATION` and in verdicts.
pub(super) const NAME: &str = "words";

/// Most characters of a normalised word. The overlap must contain all but one of them.
pub(super) const MAX_WORD: usize = OVERLAP;
/// Most words of a list: that of a site, and that of all sites.
pub(super) const MAX_WORDS: i64 = 5_000;
/// How long a list is used before it is read again.
const REREAD: Duration = Duration::from_secs(30);
/// Most lists in memory, one per site. 10,000 words of four Chinese characters take about 3 MB.
const MAX_LISTS: usize = 8;
/// Most passes until a text is normal. Two are enough for all texts that are known.
const MAX_PASSES: usize = 8;

/// A text as it is compared: NFKC, folded case, no spaces, punctuation, symbols and invisible
/// characters.
///
/// One pass may produce characters that another pass changes: two characters compose once the
/// punctuation between them is removed. So it is repeated until nothing changes.
pub(super) fn normalise(text: &str) -> String {
    let mut normal = pass(text);
    for _ in 1..MAX_PASSES {
        let next = pass(&normal);
        if next == normal {
            break;
        }
        normal = next;
    }
    normal
}

fn pass(text: &str) -> String {
    let kept = text.nfkc().filter(|c| !is_ignored(*c));
    kept.flat_map(fold).nfkc().collect()
}

fn is_ignored(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_alphanumeric();
    }
    matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Punctuation
            | GeneralCategoryGroup::Symbol
            | GeneralCategoryGroup::Separator
            // Such as the zero-width space.
            | GeneralCategoryGroup::Other
    )
}

/// The upper case folds characters that have the same one, such as ς and σ.
fn fold(c: char) -> impl Iterator<Item = char> {
    c.to_uppercase().flat_map(char::to_lowercase)
}

/// The normalised end of a text that arrives in parts.
#[derive(Default)]
pub(super) struct Tail(String);

impl Tail {
    /// Adds a part. Returns it normalised, after the end of the text before it. A word that the
    /// parts split is in the result.
    pub fn extend(&mut self, part: &str) -> String {
        let normal = normalise(&format!("{}{part}", self.0));
        last_chars(&normal, OVERLAP).clone_into(&mut self.0);
        normal
    }
}

/// The words of a site and those of all sites.
struct List {
    matcher: Option<AhoCorasick>,
    /// The rows of the words, in the order of the matcher.
    ids: Vec<i64>,
}

impl List {
    fn new(rows: Vec<(i64, String)>) -> Self {
        let (ids, words): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .map(|(id, word)| (id, normalise(&word)))
            .filter(|(_, word)| !word.is_empty())
            .unzip();
        let matcher = AhoCorasick::new(words);
        if let Err(err) = &matcher {
            tracing::error!(cause = %err, "the moderation words are too long to compare");
        }
        Self {
            matcher: matcher.ok(),
            ids,
        }
    }

    /// The row of a word in a normalised text.
    fn find(&self, normal: &str) -> Option<i64> {
        let found = self.matcher.as_ref()?.find(normal)?;
        self.ids.get(found.pattern().as_usize()).copied()
    }
}

struct Cached {
    site_id: i64,
    read_at: Instant,
    list: Arc<List>,
}

/// The lists in the database. Each is kept in memory for 30 s.
pub(super) struct Words {
    db: Db,
    lists: Mutex<Vec<Cached>>,
}

impl Words {
    pub fn new(db: Db) -> Self {
        Self {
            db,
            lists: Mutex::default(),
        }
    }

    /// The row of a word of the site in a normalised text. If the database is unreachable, the
    /// list that was read last is used.
    pub async fn find(&self, site_id: i64, normal: &str) -> Result<Option<i64>> {
        let known = self.known(site_id);
        let list = match known {
            Some((list, age)) if age < REREAD => list,
            known => match (self.read(site_id).await, known) {
                (Ok(list), _) => list,
                (Err(err), Some((list, _))) => {
                    tracing::warn!(cause = %err, "the moderation words could not be read again");
                    list
                }
                (Err(err), None) => return Err(err),
            },
        };
        Ok(list.find(normal))
    }

    fn known(&self, site_id: i64) -> Option<(Arc<List>, Duration)> {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lists.iter().find(|cached| cached.site_id == site_id)?;
        Some((Arc::clone(&known.list), known.read_at.elapsed()))
    }

    async fn read(&self, site_id: i64) -> Result<Arc<List>> {
        let read_at = Instant::now();
        let rows = sqlx::query!(
            r#"
            select w.id, w.word
            from unnest(array[0, $1::bigint]) list (id) cross join lateral (
                select id, word from biz.moderation_words where coalesce(site_id, 0) = list.id
                order by created_at desc limit $2
            ) w
            "#,
            site_id,
            MAX_WORDS,
        )
        .fetch_all(&self.db)
        .with_statement_timeout()
        .await?;
        let rows = rows.into_iter().map(|row| (row.id, row.word)).collect();
        let list = Arc::new(List::new(rows));
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|cached| cached.site_id != site_id);
        if lists.len() >= MAX_LISTS {
            // The oldest one.
            lists.remove(0);
        }
        lists.push(Cached {
            site_id,
            read_at,
            list: Arc::clone(&list),
        });
        Ok(list)
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_without_case_width_spaces_and_punctuation() {
        for text in [
            "赌博 Game",
            "赌博ＧＡＭＥ",
            "赌·博_g a m e",
            "【赌】\u{200b}博！Gａme",
            "赌\n博🎲game",
        ] {
            assert_eq!(normalise(text), "赌博game", "{text}");
        }
        assert_eq!(normalise("Straße ΣΑΣ"), "strasseσασ");
        assert_eq!(normalise("，。 ！🎲"), "");
        assert_eq!(normalise("e-\u{301}"), "é");
    }
}
