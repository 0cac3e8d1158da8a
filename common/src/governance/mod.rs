//! Access control, token budgets, quotas, prices, run logs, alerts, usage figures,
//! feedback and the audit log.

pub mod alerts;
pub mod api_keys;
pub mod apps;
pub mod audit;
pub mod auth;
pub mod budgets;
pub mod feedback;
pub mod gauges;
pub mod notice;
pub mod notifications;
pub mod prices;
pub mod quotas;
pub mod reports;
pub mod runs;
pub mod runtime_context;
pub mod sites;
pub mod usage;
pub mod users;
