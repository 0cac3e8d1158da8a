//! Notifications to robots of `WeCom`, `DingTalk` and Feishu, and to webhooks.
//!
//! Nothing is written on the way of a request. Each minute, `notify` derives incidents from alerts,
//! circuits, budgets and reports, and sends one message per incident and channel. Delivery is at
//! least once: a function may die between sending and storing the result.

pub mod channels;
mod message;
mod outbox;

pub use channels::{Channel, ChannelQuery, Fields, Kind, Level};
pub use outbox::{Notified, run};
