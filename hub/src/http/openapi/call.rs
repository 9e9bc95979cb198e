//! One method of one path, as the description has it.

use std::collections::BTreeMap;

use utoipa::{
    ToSchema,
    openapi::{
        ArrayBuilder, ContentBuilder, HeaderBuilder, HttpMethod, ObjectBuilder, Ref, RefOr, Required,
        ResponseBuilder, Type,
        path::{OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{AllOfBuilder, Schema},
        security::SecurityRequirement,
    },
};

use super::bodies::Problem;
use crate::protocol::error_code::ErrorCode;

/// Media type of JSON answers.
pub(super) const JSON: &str = "application/json";
/// Media type of problems (RFC 9457).
const PROBLEM: &str = "application/problem+json";
/// The security scheme's name in the description.
pub(super) const API_KEY: &str = "api_key";

/// Schemas by name.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// One method of one path.
pub(super) struct Call {
    pub(super) method: HttpMethod,
    pub(super) path: &'static str,
    operation: OperationBuilder,
    problems: BTreeMap<u16, Vec<ErrorCode>>,
    schemas: Schemas,
}

impl Call {
    /// A call that needs no key. `name`: unique among all. `what`: one sentence.
    pub(super) fn new((method, path): (HttpMethod, &'static str), tag: &str, name: &str, what: &str) -> Self {
        let operation = OperationBuilder::new().tag(tag).operation_id(Some(name)).summary(Some(what));
        Self { method, path, operation, problems: BTreeMap::new(), schemas: Vec::new() }
    }

    /// A call of the backend.
    pub(super) fn for_backends(at: (HttpMethod, &'static str), tag: &str, name: &str, what: &str) -> Self {
        let call = Self::new(at, tag, name, what);
        call.operation(|operation| operation.security(SecurityRequirement::new(API_KEY, ["api"])))
            .problem(ErrorCode::InvalidToken)
    }

    /// A call of the operator.
    pub(super) fn for_admins(at: (HttpMethod, &'static str), tag: &str, name: &str, what: &str) -> Self {
        let call = Self::new(at, tag, name, what);
        call.operation(|operation| operation.security(SecurityRequirement::new(API_KEY, ["admin"])))
            .problem(ErrorCode::InvalidToken)
            .problem(ErrorCode::NotPermitted)
    }

    fn operation(mut self, change: impl FnOnce(OperationBuilder) -> OperationBuilder) -> Self {
        self.operation = change(self.operation);
        self
    }

    fn refer<T: ToSchema>(&mut self) -> Ref {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(T::name())
    }

    /// More about it than the one sentence.
    pub(super) fn note(self, text: &str) -> Self {
        self.operation(|operation| operation.description(Some(text)))
    }

    /// A part of the path that keeps the grammar of `T`; `code` is the answer when it does not.
    pub(super) fn path_part<T: ToSchema>(mut self, name: &str, code: ErrorCode) -> Self {
        let schema = self.refer::<T>();
        let part = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(schema));
        self.operation(|operation| operation.parameter(part)).problem(code)
    }

    /// A parameter of the query, which may be left out.
    pub(super) fn query(self, name: &str, what: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        let part = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(what))
            .schema(Some(schema));
        self.operation(|operation| operation.parameter(part)).problem(ErrorCode::BadRequest)
    }

    /// What the caller writes; `required` unless an empty body will do. Any media type is taken for JSON.
    pub(super) fn body<T: ToSchema>(mut self, required: bool) -> Self {
        let content = ContentBuilder::new().schema(Some(self.refer::<T>()));
        let required = if required { Required::True } else { Required::False };
        let body = RequestBodyBuilder::new().content(JSON, content.build()).required(Some(required)).build();
        self.operation(|operation| operation.request_body(Some(body)))
            .problem(ErrorCode::BadRequest)
            .problem_with(408, ErrorCode::BadRequest)
            .problem(ErrorCode::PayloadTooLarge)
    }

    /// The answer in JSON, with status 200.
    pub(super) fn answer<T: ToSchema>(self, what: &str) -> Self {
        self.answer_with::<T>(200, what)
    }

    /// An answer in JSON.
    pub(super) fn answer_with<T: ToSchema>(mut self, status: u16, what: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(self.refer::<T>())).build();
        self.respond(status, ResponseBuilder::new().description(what).content(JSON, content))
    }

    /// The same, a list.
    pub(super) fn list<T: ToSchema>(mut self, what: &str) -> Self {
        let rows = ArrayBuilder::new().items(self.refer::<T>());
        let content = ContentBuilder::new().schema(Some(rows)).build();
        self.respond(200, ResponseBuilder::new().description(what).content(JSON, content))
    }

    /// An answer of text in some form.
    pub(super) fn text(self, media_type: &str, what: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String)));
        self.respond(200, ResponseBuilder::new().description(what).content(media_type, content.build()))
    }

    /// A schema that the description has although no answer is just that.
    pub(super) fn with_schema<T: ToSchema>(mut self) -> Self {
        let _ = self.refer::<T>();
        self
    }

    /// An answer without a body.
    pub(super) fn nothing(self, what: &str) -> Self {
        self.respond(204, ResponseBuilder::new().description(what))
    }

    fn respond(self, status: u16, response: ResponseBuilder) -> Self {
        self.operation(|operation| operation.response(status.to_string(), response))
    }

    /// A problem, with the status of its code.
    pub(super) fn problem(self, code: ErrorCode) -> Self {
        self.problem_with(code.http_status(), code)
    }

    /// A problem with another status.
    pub(super) fn problem_with(mut self, status: u16, code: ErrorCode) -> Self {
        let codes = self.problems.entry(status).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
        self
    }

    /// What the description gets of it.
    pub(super) fn build(mut self) -> (HttpMethod, &'static str, OperationBuilder, Schemas) {
        let problem = self.refer::<Problem>();
        for (status, codes) in std::mem::take(&mut self.problems) {
            let words = ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(codes.iter().map(|code| code.as_str())));
            let own = ObjectBuilder::new().property("code", words).property(
                "status",
                ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status])),
            );
            let schema = AllOfBuilder::new().item(problem.clone()).item(own);
            let titles: Vec<_> = codes.iter().map(|code| code.title()).collect();
            let mut response = ResponseBuilder::new()
                .description(titles.join("; "))
                .content(PROBLEM, ContentBuilder::new().schema(Some(Schema::AllOf(schema.build()))).build());
            let header = match status {
                401 => Some(("WWW-Authenticate", Type::String)),
                429 | 503 => Some(("Retry-After", Type::Integer)),
                _ => None,
            };
            if let Some((name, of)) = header {
                let schema = ObjectBuilder::new().schema_type(of);
                response = response.header(name, HeaderBuilder::new().schema(Some(schema)).build());
            }
            self = self.respond(status, response);
        }
        (self.method, self.path, self.operation, self.schemas)
    }
}
