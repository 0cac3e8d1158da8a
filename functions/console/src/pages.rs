//! The pages, one file per place of the navigation.

mod alerts;
mod api_keys;
mod apps;
mod audit;
mod batches;
mod bots;
mod budgets;
mod channels;
mod chat;
mod dashboard;
mod exports;
mod feedback;
mod forms;
mod insights;
mod jobs;
mod prewarm;
mod reports;
mod results;
mod runs;
mod runtime_context;
mod usage;
mod users;

use axum::Router;

use crate::Parts;

/// The routes of all pages.
pub(crate) fn router() -> Router<Parts> {
    Router::new()
        .merge(alerts::routes())
        .merge(api_keys::routes())
        .merge(apps::routes())
        .merge(audit::routes())
        .merge(batches::routes())
        .merge(bots::routes())
        .merge(budgets::routes())
        .merge(channels::routes())
        .merge(chat::routes())
        .merge(dashboard::routes())
        .merge(exports::routes())
        .merge(feedback::routes())
        .merge(insights::routes())
        .merge(jobs::routes())
        .merge(prewarm::routes())
        .merge(reports::routes())
        .merge(results::routes())
        .merge(runs::routes())
        .merge(runtime_context::routes())
        .merge(usage::routes())
        .merge(users::routes())
}
