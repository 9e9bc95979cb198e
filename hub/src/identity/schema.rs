//! How identifiers stand in the API's description.

use utoipa::openapi::{ObjectBuilder, RefOr, Type, schema::Schema};

/// A text that keeps a grammar, such as `example`. `pattern`: a regular expression of ECMA-262, anchored at both ends.
pub(super) fn text(description: &str, pattern: &str, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .pattern(Some(pattern))
        .examples([example])
        .build()
        .into()
}

macro_rules! text_schema {
    ($name:ty, $description:literal, $pattern:literal, $example:literal) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                super::schema::text($description, $pattern, $example)
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

pub(super) use text_schema;
