//! The JSON Schemas of all messages, made of their types.
//!
//! Owns which type has which name. The files under `config/schemas` and `docs/mqtt.md` are
//! written from here.

use schemars::{Schema, schema_for};
use serde_json::{Value, json};

use super::contract::{Envelope, MAX_CORRELATION, SCHEMAS, VERSION, schema_id};
use super::findings::Findings;
use super::messages::{
    Command, EngineEvent, Escalation, Health, Info, Reply, Status, StudyEvent, Worklist,
};

/// The schema of every message, by name; the files under `config/schemas` are these.
pub fn schemas() -> Vec<(&'static str, Schema)> {
    let schemas = [
        schema_for!(Envelope<StudyEvent>),
        schema_for!(Envelope<Findings>),
        schema_for!(Envelope<Findings>),
        schema_for!(Envelope<Escalation>),
        schema_for!(Envelope<EngineEvent>),
        schema_for!(Status),
        schema_for!(Info),
        schema_for!(Health),
        schema_for!(Worklist),
        schema_for!(Command),
        schema_for!(Reply),
    ];
    std::iter::zip(SCHEMAS, schemas)
        .map(|(name, mut schema)| {
            if name == "command" {
                bodies_alone(&mut schema);
            }
            schema.insert("$id".to_owned(), schema_id(name).into());
            schema.insert("title".to_owned(), format!("hepalert {name} {VERSION}").into());
            (name, schema)
        })
        .collect()
}

/// A command's name is in its topic, so the body on the wire is what stands below the name.
fn bodies_alone(schema: &mut Schema) {
    let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    for variant in variants.into_iter().flatten() {
        let named = variant["properties"].as_object().and_then(|fields| fields.iter().next());
        let Some((name, body)) = named.map(|(name, body)| (name.clone(), body.clone())) else {
            continue;
        };
        let description = variant["description"].take();
        *variant = body;
        // Where the answer goes, for who speaks MQTT 3.1.1.
        variant["properties"]["reply_to"] = json!({
            "type": "string", "maxLength": MAX_CORRELATION,
            "description": "A topic below `reply/`, unless the response topic says it."
        });
        variant["properties"]["correlation"] = json!({
            "type": "string", "maxLength": MAX_CORRELATION,
            "description": "Comes back in the answer."
        });
        variant["title"] = name.into();
        variant["description"] = description;
    }
    // A body that is empty is also one of another command without its fields.
    if let Some(variants) = schema.remove("oneOf") {
        schema.insert("anyOf".to_owned(), variants);
    }
}
