//! The lowest layer: environment, clock, database, AWS, telemetry, errors.

mod aws;
pub mod clock;
pub mod dates;
pub mod db;
pub mod env;
pub mod error;
pub mod export;
pub mod functions;
pub mod http_client;
pub mod metrics;
pub mod migrations;
pub mod moving_deadline;
pub mod paging;
pub mod public_client;
pub mod request_context;
pub mod schedules;
pub mod secrets;
pub mod sqs;
pub(crate) mod surrogates;
pub mod telemetry;
pub(crate) mod text;
pub mod time_limit;
pub mod traces;
pub mod version;
pub(crate) mod words;
