//! How the service is told what was said before: by its own session, or by the stored history.
//!
//! It is asked with one of the two, never with both: else the context is paid for twice. Where the
//! service has forgotten the session, it is asked once more, with the history.

use crate::{
    dashscope::{self, Call},
    insights::apps::app1_chat::{self, PageFacts, Turn},
    platform::request_context::RequestContext,
};

/// What was said before a message.
#[derive(Debug)]
pub(super) struct SessionOrHistory {
    /// The session that the service still has, if it should have one.
    session_id: Option<String>,
    history: Vec<Turn>,
    /// The service has forgotten the session.
    lost: bool,
}

/// Who asks whom, and what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub app_id: &'a str,
    pub user_id: i64,
    pub role: &'a str,
    pub nickname: &'a str,
    pub content: &'a str,
    /// What the page shows from which the question is asked.
    pub page: Option<PageFacts<'a>>,
}

impl SessionOrHistory {
    pub fn new(session_id: Option<String>, history: Vec<Turn>) -> Self {
        Self {
            session_id,
            history,
            lost: false,
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
            app_id: question.app_id.to_owned(),
            prompt: app1_chat::prompt(question.page, history, question.content),
            session_id,
            biz_params: Some(app1_chat::biz_params(
                question.user_id,
                question.role,
                question.nickname,
            )),
            trace: RequestContext::current().trace_value(),
        }
    }

    /// True if the call failed because the service has forgotten its session: then the next call has
    /// the history.
    pub fn must_repeat(&mut self, call: &Call, err: &dashscope::Error) -> bool {
        let forgotten = matches!(err, dashscope::Error::SessionExpired { .. });
        let repeat = forgotten && call.session_id.is_some();
        self.lost |= repeat;
        repeat
    }

    /// The service has forgotten the session, so that nobody should ask with it again.
    pub fn is_session_lost(&self) -> bool {
        self.lost
    }
}
