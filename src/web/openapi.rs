//! The OpenAPI document of the interface, made from its table.
//!
//! `web/openapi.json` is this document; a test holds it so.

use axum::Json;
use serde_json::{Map, Value, json};

use super::api::{Api, Endpoint, api};

/// The document.
pub fn document() -> Value {
    let Api { endpoints, mut schemas, .. } = api();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in &endpoints {
        let path = endpoint.path.replace("{*path}", "{path}");
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[endpoint.method] = operation(endpoint);
    }
    let text = serde_json::to_string(&schemas.take_definitions(true)).unwrap_or_default();
    let text = text.replace("#/$defs/", "#/components/schemas/");
    let schemas: Value = serde_json::from_str(&text).unwrap_or_default();
    let paths = serde_json::to_string(&paths).unwrap_or_default();
    let paths = paths.replace("#/$defs/", "#/components/schemas/");
    let paths: Value = serde_json::from_str(&paths).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hepalert",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the page on the device is made of. Suspected findings, never a diagnosis.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"session": {
                "type": "apiKey", "in": "cookie", "name": "hepalert",
                "description": "Over TLS it is called __Host-hepalert.",
            }},
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let names = endpoint.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let in_path = names.map(|name| {
        let name = name.trim_start_matches('*');
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
    });
    let in_query = endpoint.query.iter().map(|(name, meaning)| {
        json!({"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}})
    });
    let (kind, schema) = &endpoint.gives;
    let problem = json!({"description": "Refused.", "content": {"application/json": {
        "schema": {"$ref": "#/$defs/ProblemBody"}
    }}});
    let mut operation = json!({
        "summary": endpoint.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<Value>>(),
        "responses": {
            "200": {"description": "Done.", "content": {*kind: {"schema": schema}}},
            "4XX": problem,
        },
    });
    if let Some((kind, schema)) = &endpoint.takes {
        operation["requestBody"] =
            json!({"required": true, "content": {*kind: {"schema": schema}}});
    }
    if let Some(role) = endpoint.role {
        operation["security"] = json!([{"session": []}]);
        operation["description"] =
            format!("Needs the role {} or a higher one.", role.name()).into();
    }
    operation
}

/// `GET /api/openapi.json`.
pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_in_the_tree_is_the_one_the_program_serves() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web/openapi.json");
        let made = format!("{:#}\n", document());
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "REGENERATE=1 writes web/openapi.json anew");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = document().to_string();
        let document = document();
        let named = text.split("#/components/schemas/").skip(1);
        let mut seen = 0;
        for name in named.filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
            seen += 1;
        }
        assert!(seen > 20 && !text.contains("$defs"));
    }
}
