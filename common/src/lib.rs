//! Parlor's nouns: their types, their rules and their SQL, one module each.
//!
//! Nothing here knows axum's `Router` or AWS Lambda: those are the functions' business.

pub mod dashscope;
