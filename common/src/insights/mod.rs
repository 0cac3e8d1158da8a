//! What the apps find out: prompts made of a site's facts, results, and the jobs that make them.

pub mod apps;
pub mod batches;
pub mod facts;
pub mod jobs;
pub mod pages;
pub mod results;
