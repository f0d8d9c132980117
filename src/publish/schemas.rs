//! The JSON Schemas of all messages, made of their types.
//!
//! Owns which type has which name. The files under `config/schemas` and `docs/mqtt.md` are
//! written from here.

use schemars::{Schema, schema_for};

use super::contract::{Envelope, SCHEMAS, VERSION, schema_id};
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
            schema.insert("$id".to_owned(), schema_id(name).into());
            schema.insert("title".to_owned(), format!("hepalert {name} {VERSION}").into());
            (name, schema)
        })
        .collect()
}
