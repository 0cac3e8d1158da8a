//! Conversations of staff with the assistant and with bots.

pub mod agents;
pub mod bots;
pub mod conversations;
pub mod messages;
pub mod openers;
pub mod replies;
pub mod reports;
mod session_or_history;
pub mod session_replies;
pub mod sessions;
pub mod titles;
pub mod user_data;
