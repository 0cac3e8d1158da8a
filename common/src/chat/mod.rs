//! Conversations of staff with the chat and with bots.

pub mod bots;
pub mod conversations;
pub mod messages;
pub mod replies;
pub mod session_replies;
pub mod sessions;
