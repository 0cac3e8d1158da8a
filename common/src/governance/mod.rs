//! Who may call, what it costs, what failed, and who changed what.

pub mod alerts;
pub mod apps;
pub mod audit;
pub mod auth;
pub mod budgets;
pub mod gauges;
pub mod runs;
pub mod runtime_context;
pub mod usage;
