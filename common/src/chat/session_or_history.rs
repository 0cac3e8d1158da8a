//! The context of a message: a DashScope session, or the stored history.
//!
//! A call has one of the two, never both, because the context would be paid for twice. If DashScope
//! has dropped the session, or the fallback application is called, a second call has the history.

use std::time::Duration;

use crate::{
    dashscope::{self, Call},
    governance::{
        apps::{App, Application},
        runs::{self, Run, RunEnd},
    },
    insights::apps::app1_chat::{self, PageContext, Turn},
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
    },
};

/// When a DashScope session is used, and how much history is sent without one.
pub(super) struct HistoryLimits {
    /// Longest time since the last use of the session.
    pub session_age: Duration,
    /// Most rounds since the session began.
    pub session_rounds: i32,
    /// Number of newest turns to send.
    pub turns: i32,
}

/// DashScope keeps a session for an hour and 50 rounds. The age limit has a margin of ten minutes.
pub(super) const HISTORY: HistoryLimits = HistoryLimits {
    session_age: Duration::from_secs(50 * 60),
    session_rounds: 50,
    turns: 20,
};

/// The context of one message.
#[derive(Debug)]
pub(super) struct SessionOrHistory {
    site_id: i64,
    message_id: i64,
    /// The first call takes it out.
    session_id: Option<String>,
    /// Oldest first. Filled if there is no session, or once DashScope has dropped it.
    history: Vec<Turn>,
    /// True if DashScope has dropped the session.
    lost: bool,
    /// True if the fallback application is called. Its sessions are not continued, because the next
    /// message is for the first application again.
    is_fallback: bool,
}

/// One question: the application, the user and the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub application: &'a Application,
    pub user_id: i64,
    pub role: &'a str,
    pub nickname: &'a str,
    pub content: &'a str,
    /// The page on which the question is asked.
    pub page: Option<PageContext<'a>>,
}

impl SessionOrHistory {
    /// The context of a user's message, as `begin_reply` and `begin_session_reply` return it.
    pub fn new(
        site_id: i64,
        message_id: i64,
        session_id: Option<String>,
        history: Vec<Turn>,
        application: &Application,
    ) -> Self {
        Self {
            site_id,
            message_id,
            session_id,
            history,
            lost: false,
            is_fallback: application.is_fallback,
        }
    }

    /// The next call: with the session, else with the history.
    pub fn call(&mut self, question: Question<'_>) -> Call {
        let session_id = self.session_id.take();
        let history = match session_id {
            Some(_) => &[][..],
            None => &self.history,
        };
        Call {
            prompt: app1_chat::prompt(question.page, history, question.content),
            session_id,
            biz_params: Some(app1_chat::biz_params(
                question.user_id,
                question.role,
                question.nickname,
            )),
            ..question.application.call(App::Chat)
        }
    }

    /// Reads the history if the call failed because DashScope has dropped its session. Returns
    /// true if there is now a history to call with.
    pub async fn must_repeat(&mut self, db: &Db, call: &Call, err: &dashscope::Error) -> bool {
        let forgotten = matches!(err, dashscope::Error::SessionExpired { .. });
        if !forgotten || call.session_id.is_none() {
            return false;
        }
        self.lost = true;
        self.load_history(db).await
    }

    /// Moves the run to the fallback application, if `application` throttled the call and has one.
    /// Returns true if the caller must call it, with the history.
    pub async fn fall_back(
        &mut self,
        db: &Db,
        run: Run,
        application: &mut Application,
        call: &Call,
        err: &dashscope::Error,
    ) -> bool {
        if !err.is_throttled() || application.fallback_app_id.is_none() {
            return false;
        }
        if call.session_id.is_some() && !self.load_history(db).await {
            return false;
        }
        self.is_fallback =
            runs::fall_back(db, self.site_id, run, App::Chat, application, err).await;
        self.is_fallback
    }

    async fn load_history(&mut self, db: &Db) -> bool {
        match self.read_history(db).await {
            Ok(history) => {
                self.history = history;
                true
            }
            Err(err) => {
                let message_id = self.message_id;
                tracing::error!(message_id, cause = %err, "the history could not be read");
                false
            }
        }
    }

    async fn read_history(&self, db: &Db) -> Result<Vec<Turn>> {
        let row = sqlx::query!(
            r#"
            select t.roles, t.texts
            from biz.ai_messages m
            cross join lateral turns_before(m.site_id, m.conversation_id, m.seq, $3) t
            where m.id = $2 and m.site_id = $1
            "#,
            self.site_id,
            self.message_id,
            HISTORY.turns,
        )
        .fetch_one(db)
        .with_statement_timeout()
        .await?;
        Ok(turns(row.roles, row.texts))
    }

    /// Sets which session the next message continues. After the fallback application, it is none:
    /// the session of the first application lacks this turn.
    pub fn end_session(&self, end: &mut RunEnd) {
        end.session_lost = self.lost || self.is_fallback;
        if self.is_fallback {
            end.session_id = None;
        }
    }
}

/// Converts the row type `turns` to turns, oldest first. The row has the newest first, or nulls.
pub(super) fn turns(roles: Option<Vec<String>>, texts: Option<Vec<String>>) -> Vec<Turn> {
    let pairs = roles
        .unwrap_or_default()
        .into_iter()
        .zip(texts.unwrap_or_default());
    let mut turns: Vec<Turn> = pairs
        .map(|(role, content)| Turn { role, content })
        .collect();
    turns.reverse();
    turns
}
