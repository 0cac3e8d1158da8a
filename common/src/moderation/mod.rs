//! Moderation: checks the questions and replies of chats, besides the content inspection of
//! DashScope.
//!
//! `words` compares texts with lists of words. `wechat` and `http` ask a service. Several may be
//! configured; a text is blocked if one of them blocks it. Without configuration, nothing is
//! allocated or checked.

mod http;
mod wechat;
mod word_list;
mod words;

use std::{sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, MaybeDone, maybe_done},
    stream::FuturesUnordered,
};
use serde::Serialize;
use tokio::{sync::OnceCell, time::timeout};

pub use self::word_list::{Word, WordQuery, create, delete, list};
use self::{
    http::Http,
    wechat::Wechat,
    words::{Tail, Words},
};
use crate::platform::{
    db::Db,
    env::{ConfigError, Env},
    error::{self, Error, Result},
    metrics,
    words::words,
};

/// How long the first text of a reply waits for the verdict on its question, and a checkpoint for
/// the verdict on its text.
const PATIENCE: Duration = Duration::from_millis(800);
/// Time limit of a service for a question. The question waits longer than [`PATIENCE`] only while
/// the application has no text yet.
const SERVICE_TIME: Duration = Duration::from_secs(5);
/// Characters of the earlier text that are checked again together with the new text, so that a
/// checkpoint cannot split what is to be found.
const OVERLAP: usize = 64;
/// Limits of what is stored of a verdict.
const MAX_LABELS: usize = 20;
const MAX_LABEL: usize = 64;

words! {
    /// What happens to a text without a verdict, as in `MODERATION_ON_TIMEOUT`.
    enum OnTimeout {
        Allow = "allow",
        Block = "block",
    }
}

/// Who writes a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Input,
    Output,
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// Result of a check. A later variant replaces an earlier one in the record of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Allow,
    /// The service cannot check the texts of this user.
    Skipped,
    /// The service is not sure. The text is allowed.
    Review,
    /// The service failed or was too slow.
    None,
    Block,
}

/// The verdict of one check. It contains no text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    service: &'static str,
    result: Outcome,
    labels: Vec<String>,
    trace_id: Option<String>,
}

impl Verdict {
    fn new(service: &'static str, result: Outcome) -> Self {
        Self {
            service,
            result,
            labels: Vec::new(),
            trace_id: None,
        }
    }

    /// A verdict with what a service says about it. Its length is limited, and NUL is removed,
    /// because PostgreSQL cannot store it.
    fn described(self, labels: Vec<String>, trace_id: Option<String>) -> Self {
        let clean = |text: String| {
            let clean = text.chars().filter(|c| *c != '\0').take(MAX_LABEL);
            clean.collect::<String>()
        };
        Self {
            labels: labels.into_iter().take(MAX_LABELS).map(clean).collect(),
            trace_id: trace_id.map(clean),
            ..self
        }
    }

    fn report(&self) {
        match self.result {
            Outcome::Block => metrics::moderation("ModerationBlocked", self.service),
            Outcome::None => metrics::moderation("ModerationFailed", self.service),
            Outcome::Skipped => metrics::moderation("ModerationSkipped", self.service),
            Outcome::Allow | Outcome::Review => {}
        }
    }
}

/// The verdicts on one message: the most severe one of each service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Verdicts(Vec<Verdict>);

impl Verdicts {
    fn add(&mut self, verdict: Verdict) {
        match self
            .0
            .iter_mut()
            .find(|known| known.service == verdict.service)
        {
            Some(known) if known.result <= verdict.result => *known = verdict,
            Some(_) => {}
            None => self.0.push(verdict),
        }
    }

    fn is_blocked(&self, on_timeout: OnTimeout) -> bool {
        self.0.iter().any(|verdict| match verdict.result {
            Outcome::Block => true,
            Outcome::None => on_timeout == OnTimeout::Block,
            Outcome::Allow | Outcome::Skipped | Outcome::Review => false,
        })
    }
}

/// The verdicts on a question and its reply, as `finish_reply` and `end_session_reply` take them.
/// A message that was not checked is null.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ExchangeVerdicts {
    question: Option<Verdicts>,
    reply: Option<Verdicts>,
}

impl ExchangeVerdicts {
    /// The verdicts of finished checks. `None` if there are none.
    pub(crate) fn of(question: Option<&QuestionCheck>, reply: Option<&Guard>) -> Option<Self> {
        let verdicts = Self {
            question: question.and_then(QuestionCheck::verdicts),
            reply: reply
                .map(|guard| guard.verdicts.clone())
                .filter(|verdicts| !verdicts.0.is_empty()),
        };
        (verdicts.question.is_some() || verdicts.reply.is_some()).then_some(verdicts)
    }
}

/// The user of a chat.
#[derive(Clone, Debug)]
struct Subject {
    site_id: i64,
    user_id: i64,
    /// Id in the mini-program, read when a service first needs it.
    openid: Arc<OnceCell<Option<String>>>,
}

/// One text for a service.
#[derive(Clone, Copy)]
struct Text<'a> {
    subject: &'a Subject,
    direction: Direction,
    content: &'a str,
}

/// Why a service gave no verdict. It contains no text, token or secret.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no response in time")]
    Timeout,
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("the response is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the response cannot be read")]
    Unreadable,
    #[error("error {0} of WeChat")]
    Wechat(i64),
    #[error("the database failed")]
    Database(#[source] Error),
}

impl From<reqwest::Error> for Failure {
    /// The URL of a request to WeChat contains the access token.
    fn from(err: reqwest::Error) -> Self {
        Self::Request(err.without_url())
    }
}

enum Service {
    Wechat(Wechat),
    Http(Http),
}

impl Service {
    const fn name(&self) -> &'static str {
        match self {
            Self::Wechat(_) => wechat::NAME,
            Self::Http(_) => http::NAME,
        }
    }

    async fn check(&self, text: Text<'_>, within: Duration) -> Verdict {
        let checked = timeout(within, async {
            match self {
                Self::Wechat(wechat) => wechat.check(text).await,
                Self::Http(http) => http.check(text).await,
            }
        });
        let verdict = checked.await.unwrap_or(Err(Failure::Timeout));
        verdict.unwrap_or_else(|err| {
            tracing::warn!(
                service = self.name(),
                direction = text.direction.name(),
                cause = %error::chain(&err),
                "moderation gave no verdict"
            );
            Verdict::new(self.name(), Outcome::None)
        })
    }
}

struct Checks {
    words: Option<Words>,
    services: Vec<Service>,
    on_timeout: OnTimeout,
}

impl Checks {
    /// Asks all services at once. Returns as soon as one of them blocks the text.
    async fn ask(&self, text: Text<'_>, within: Duration) -> Vec<Verdict> {
        let checks = self.services.iter();
        let checks = checks.map(|service| service.check(text, within));
        let mut checks: FuturesUnordered<_> = checks.collect();
        let mut verdicts = Vec::new();
        while let Some(verdict) = checks.next().await {
            verdict.report();
            let is_block = verdict.result == Outcome::Block;
            verdicts.push(verdict);
            if is_block {
                break;
            }
        }
        verdicts
    }

    /// The verdict on a normalised text.
    async fn find_word(&self, site_id: i64, normal: &str) -> Option<Verdict> {
        let words = self.words.as_ref()?;
        let verdict = match words.find(site_id, normal).await {
            Ok(None) => return None,
            Ok(Some(id)) => {
                let labels = vec![format!("word:{id}")];
                Verdict::new(words::NAME, Outcome::Block).described(labels, None)
            }
            Err(err) => {
                tracing::warn!(cause = %err, "the moderation words could not be read");
                Verdict::new(words::NAME, Outcome::None)
            }
        };
        verdict.report();
        Some(verdict)
    }
}

/// The configured checks. Clones share the lists of words and the connections.
#[derive(Clone, Default)]
pub struct Moderation(Option<Arc<Checks>>);

impl Moderation {
    /// Reads `MODERATION` and the variables of the services that it names. Does not connect to
    /// anything yet.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env, db: &Db) -> Result<Self, ConfigError> {
        Self::of(env, db, true).await
    }

    /// As [`Moderation::from_env`], without services, for a function that only stores messages.
    ///
    /// # Errors
    /// Names the variable that cannot be read.
    pub async fn words_from_env(env: &Env, db: &Db) -> Result<Self, ConfigError> {
        Self::of(env, db, false).await
    }

    async fn of(env: &Env, db: &Db, with_services: bool) -> Result<Self, ConfigError> {
        let mut checks = Checks {
            words: None,
            services: Vec::new(),
            on_timeout: if with_services {
                on_timeout(env)?
            } else {
                OnTimeout::Allow
            },
        };
        let names = env.text("MODERATION").unwrap_or("none");
        if names == "none" {
            return Ok(Self(None));
        }
        for name in names.split(',') {
            match name.trim() {
                words::NAME => checks.words = Some(Words::new(db.clone())),
                wechat::NAME if with_services => {
                    let service = Wechat::from_env(env, db).await?;
                    checks.services.push(Service::Wechat(service));
                }
                http::NAME if with_services => {
                    checks
                        .services
                        .push(Service::Http(Http::from_env(env).await?));
                }
                wechat::NAME | http::NAME => {}
                _ => {
                    return Err(invalid(
                        "MODERATION",
                        "none, or a list of words, wechat and http",
                    ));
                }
            }
        }
        Ok(Self(Some(Arc::new(checks))))
    }

    /// Checks a question by the lists of words, before it is stored.
    ///
    /// # Errors
    /// [`Error::ContentBlocked`] if it contains a word. The errors of the database if the lists
    /// were never read.
    pub async fn check_words(&self, site_id: i64, text: &str) -> Result<()> {
        let Some(words) = self.0.as_ref().and_then(|checks| checks.words.as_ref()) else {
            return Ok(());
        };
        let Some(id) = words.find(site_id, &words::normalise(text)).await? else {
            return Ok(());
        };
        metrics::moderation("ModerationBlocked", words::NAME);
        tracing::info!(word_id = id, "a message was blocked by a moderation word");
        Err(Error::ContentBlocked)
    }

    /// Begins the check of a question. The words are compared now; they may be newer than the
    /// question, if it is asked again. The services are asked while the check is polled.
    pub(crate) async fn check_question(
        &self,
        site_id: i64,
        user_id: i64,
        text: &str,
    ) -> Option<QuestionCheck> {
        let checks = Arc::clone(self.0.as_ref()?);
        let subject = Subject::new(site_id, user_id);
        let mut verdicts = Verdicts::default();
        if let Some(verdict) = checks.find_word(site_id, &words::normalise(text)).await {
            verdicts.add(verdict);
        }
        if checks.services.is_empty() || verdicts.is_blocked(checks.on_timeout) {
            let check = MaybeDone::Done(verdicts);
            return Some(QuestionCheck { checks, check });
        }
        let (asked, text) = (Arc::clone(&checks), text.to_owned());
        let check: BoxFuture<'static, Verdicts> = Box::pin(async move {
            let question = Text {
                subject: &subject,
                direction: Direction::Input,
                content: &text,
            };
            for verdict in asked.ask(question, SERVICE_TIME).await {
                verdicts.add(verdict);
            }
            verdicts
        });
        let check = maybe_done(check);
        Some(QuestionCheck { checks, check })
    }

    /// The guard of a reply. `None` if nothing is configured.
    pub(crate) fn guard(&self, site_id: i64, user_id: i64) -> Option<Box<Guard>> {
        let checks = Arc::clone(self.0.as_ref()?);
        Some(Box::new(Guard {
            checks,
            subject: Subject::new(site_id, user_id),
            checked_chars: 0,
            words: Tail::default(),
            raw: String::new(),
            verdicts: Verdicts::default(),
        }))
    }
}

impl Subject {
    fn new(site_id: i64, user_id: i64) -> Self {
        Self {
            site_id,
            user_id,
            openid: Arc::default(),
        }
    }
}

fn on_timeout(env: &Env) -> Result<OnTimeout, ConfigError> {
    const NAME: &str = "MODERATION_ON_TIMEOUT";
    let word = env.text(NAME).unwrap_or(OnTimeout::Allow.name());
    OnTimeout::parse(word).ok_or_else(|| invalid(NAME, "allow or block"))
}

fn invalid(name: &str, expected: &'static str) -> ConfigError {
    ConfigError::Invalid {
        name: name.to_owned(),
        expected,
    }
}

/// The check of a question by the services, while the application is asked.
pub(crate) struct QuestionCheck {
    checks: Arc<Checks>,
    check: MaybeDone<BoxFuture<'static, Verdicts>>,
}

impl QuestionCheck {
    /// True if the question is known to be blocked.
    pub fn is_blocked(&self) -> bool {
        matches!(&self.check, MaybeDone::Done(verdicts) if verdicts.is_blocked(self.checks.on_timeout))
    }

    /// Waits for the verdict.
    pub async fn finish(check: &mut Option<Self>) {
        if let Some(check) = check {
            (&mut check.check).await;
        }
    }

    /// Polls the services. Returns if they block the question, else never. Cancel-safe.
    pub async fn blocks(check: &mut Option<Self>) {
        Self::finish(check).await;
        if !check.as_ref().is_some_and(Self::is_blocked) {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the verdict, but not for long: the first text of the reply is held back
    /// meanwhile. Returns true if the question is blocked.
    pub async fn settle(&mut self) -> bool {
        if timeout(PATIENCE, &mut self.check).await.is_err() {
            tracing::warn!("the first text did not wait longer for moderation");
            let services = self.checks.services.iter();
            let none = services.map(|service| Verdict::new(service.name(), Outcome::None));
            let none = Verdicts(none.inspect(Verdict::report).collect());
            self.check = MaybeDone::Done(none);
        }
        self.is_blocked()
    }

    fn verdicts(&self) -> Option<Verdicts> {
        match &self.check {
            MaybeDone::Done(verdicts) if !verdicts.0.is_empty() => Some(verdicts.clone()),
            _ => None,
        }
    }
}

/// Checks the text of one reply while it is made.
pub(crate) struct Guard {
    checks: Arc<Checks>,
    subject: Subject,
    /// Characters of the reply that were checked.
    checked_chars: usize,
    /// The end of the checked text, as words are compared with it.
    words: Tail,
    /// The end of the checked text.
    raw: String,
    verdicts: Verdicts,
}

impl Guard {
    /// Checks `text`, which follows the first `before` characters of the reply. Text that was
    /// checked before is checked only as overlap. Returns true if the reply is blocked.
    pub async fn blocks(&mut self, before: usize, text: &str) -> bool {
        let known = self.checked_chars.saturating_sub(before);
        let new = text
            .char_indices()
            .nth(known)
            .map_or("", |(at, _)| &text[at..]);
        if new.is_empty() {
            return false;
        }
        self.checked_chars = before + known + new.chars().count();
        let checks = Arc::clone(&self.checks);
        let mut found = Verdicts::default();
        if checks.words.is_some() {
            let normal = self.words.extend(new);
            let word = checks.find_word(self.subject.site_id, &normal).await;
            if let Some(verdict) = word {
                found.add(verdict);
            }
        }
        if !checks.services.is_empty() && !found.is_blocked(checks.on_timeout) {
            let text = format!("{}{new}", self.raw);
            let checked = Text {
                subject: &self.subject,
                direction: Direction::Output,
                content: &text,
            };
            for verdict in checks.ask(checked, PATIENCE).await {
                found.add(verdict);
            }
            last_chars(&text, OVERLAP).clone_into(&mut self.raw);
        }
        let is_blocked = found.is_blocked(checks.on_timeout);
        found
            .0
            .into_iter()
            .for_each(|verdict| self.verdicts.add(verdict));
        is_blocked
    }
}

/// The last characters of a text, at most `most`.
fn last_chars(text: &str, most: usize) -> &str {
    match text.char_indices().rev().nth(most.saturating_sub(1)) {
        Some((at, _)) => &text[at..],
        None => text,
    }
}

/// Reads the body of a response up to a limit.
async fn body(mut response: reqwest::Response, most: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Err(Failure::TooLarge(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
