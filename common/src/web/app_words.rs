//! The names of apps in the OpenAPI document.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use crate::{governance::apps::App, insights::apps};

/// Any app.
#[derive(Debug)]
pub struct AnyApp;

/// An app whose results are stored.
#[derive(Debug)]
pub struct AppWithResults;

/// An app that admins may request for many members.
#[derive(Debug)]
pub struct AppInBatches;

fn words(apps: impl Iterator<Item = App>) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(apps.map(App::name)))
        .into()
}

impl PartialSchema for AnyApp {
    fn schema() -> RefOr<Schema> {
        words(App::ALL.into_iter())
    }
}

impl PartialSchema for AppWithResults {
    fn schema() -> RefOr<Schema> {
        words(
            App::ALL
                .into_iter()
                .filter(|app| app.definition().is_some()),
        )
    }
}

impl PartialSchema for AppInBatches {
    fn schema() -> RefOr<Schema> {
        words(apps::in_batches())
    }
}

impl ToSchema for AnyApp {
    fn name() -> Cow<'static, str> {
        "AnyApp".into()
    }
}

impl ToSchema for AppWithResults {
    fn name() -> Cow<'static, str> {
        "AppWithResults".into()
    }
}

impl ToSchema for AppInBatches {
    fn name() -> Cow<'static, str> {
        "AppInBatches".into()
    }
}
