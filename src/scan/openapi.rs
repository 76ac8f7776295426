//! `GET /api/v1/openapi.json`: OpenAPI 3.1, written from the table of endpoints.

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

use super::endpoint::{Endpoint, Method, Parameter, Routes, Values};

const OPENAPI: Endpoint =
    Endpoint { path: "/api/v1/openapi.json", scope: None, about: "This description", ..Endpoint::GET };

/// Adds the path; it describes what was added before.
pub fn routes(routes: Routes) -> Routes {
    let mut endpoints = routes.endpoints.clone();
    endpoints.push(&OPENAPI);
    let text = Bytes::from(format!("{:#}\n", document(&endpoints)));
    let answer = move || {
        let text = text.clone();
        async move { ([(CONTENT_TYPE, "application/json")], text) }
    };
    routes.add(&OPENAPI, answer)
}

/// The schemas of what is asked and answered, by name.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

fn schemas() -> Map<String, Value> {
    // Its tests read it, too.
    let mut schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap_or_default();
    schemas.insert("Problem".into(), problem());
    schemas
}

fn document(endpoints: &[&Endpoint]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(endpoint.method.as_str().to_owned(), operation(endpoint));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gatepost",
            "description": "Judges Kubernetes objects, and serves what was found. Fields may be added; ignore those that you do not know.",
            "version": "v1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A token of gatepost tokens create"}},
            "schemas": schemas(),
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let in_path = placeholders(endpoint.path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let parameters: Vec<Value> = in_path.chain(endpoint.parameters().map(parameter)).collect();
    let mut operation = json!({"summary": endpoint.about, "responses": responses(endpoint)});
    let Some(fields) = operation.as_object_mut() else { return operation };
    if !parameters.is_empty() {
        fields.insert("parameters".into(), parameters.into());
    }
    if !endpoint.takes.is_empty() {
        fields
            .insert("requestBody".into(), json!({"required": true, "content": content(endpoint.takes, endpoint.body)}));
    }
    if let Some(scope) = endpoint.scope {
        fields.insert("security".into(), json!([{"token": [scope.as_str()]}]));
        fields.insert("x-scope".into(), scope.as_str().into());
    }
    operation
}

fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameter(parameter: &Parameter) -> Value {
    let of = |items: Value| json!({"type": "array", "items": items});
    let (schema, is_list) = match parameter.values {
        Values::Text => (json!({"type": "string"}), false),
        Values::List => (of(json!({"type": "string"})), true),
        Values::OneOf(known) => (json!({"type": "string", "enum": known}), false),
        Values::Some(known) => (of(json!({"type": "string", "enum": known})), true),
        Values::Number(most) => (json!({"type": "integer", "minimum": 1, "maximum": most}), false),
        Values::Flag => (json!({"type": "boolean"}), false),
    };
    let mut value = json!({"name": parameter.name, "in": "query", "description": parameter.about, "schema": schema});
    if let Some(fields) = value.as_object_mut().filter(|_| is_list) {
        // Commas, not repetition.
        fields.insert("style".into(), "form".into());
        fields.insert("explode".into(), false.into());
    }
    value
}

fn content(types: &[&str], name: &str) -> Value {
    let of = |kind: &&str| {
        let schema = match *kind {
            "application/json" if !name.is_empty() => json!({"$ref": format!("#/components/schemas/{name}")}),
            kind if kind.ends_with("json") => json!({}),
            _ => json!({"type": "string"}),
        };
        ((*kind).to_owned(), json!({"schema": schema}))
    };
    types.iter().map(of).collect::<Map<String, Value>>().into()
}

fn responses(endpoint: &Endpoint) -> Value {
    let mut responses = Map::new();
    let is_tagged = endpoint.method == Method::Get && endpoint.gives == Endpoint::GET.gives;
    for status in endpoint.statuses.iter().chain(is_tagged.then_some(&304)) {
        let answer = match status {
            304 => json!({"description": "It has not changed"}),
            204 => json!({"description": "Done"}),
            200..=299 => json!({"description": "Done", "content": content(endpoint.gives, endpoint.answer)}),
            _ => {
                json!({"description": "See the problem's type", "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}})
            }
        };
        responses.insert(status.to_string(), answer);
    }
    let problem = json!({
        "description": "A problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    responses.insert("default".into(), problem);
    responses.into()
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string", "description": "The request's id, as in X-Request-Id"},
            "errors": {"type": "array", "items": {"type": "object", "required": ["detail"], "properties": {
                "pointer": {"type": "string"}, "parameter": {"type": "string"}, "detail": {"type": "string"},
            }}},
        },
    })
}
