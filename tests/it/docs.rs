//! The documents say what the program does: configuration keys, codes and messages named in
//! them exist, and the pages that are written from the code are as it writes them now.
//!
//! `REGENERATE=1` writes `docs/codes.md` and `docs/mqtt.md` anew.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use hepalert::codes::chapters;
use hepalert::config::Config;
use hepalert::publish::contract::{EventKind, MAX_BYTES};
use hepalert::publish::schemas::schemas;
use hepalert_study::outcome::EngineFault;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

fn all(folders: &[&str], extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    folders.iter().for_each(|folder| files(&root().join(folder), extension, &mut found));
    found.sort();
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The text of all string literals, without those of tests.
fn literals(code: &str) -> String {
    let shipped = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\"", "'").replace("'\"'", "");
    text.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ")
}

fn keys() -> BTreeSet<String> {
    let table = toml::Table::try_from(Config::default()).unwrap();
    let mut keys = BTreeSet::new();
    for (section, values) in table {
        keys.extend(values.as_table().unwrap().keys().map(|key| format!("{section}.{key}")));
        keys.insert(section);
    }
    // Rules are a list, and the default has none.
    let rule = "[[phases.rule]]\nphase = \"vp\"\nseries_description = \"^portal\"";
    assert!(toml::from_str::<Config>(rule).is_ok());
    keys.insert("phases.rule".to_owned());
    // And so are archives.
    let target = "[[dicom.target]]\nname = \"pacs\"\nhost = \"pacs\"\nport = 104";
    assert!(toml::from_str::<Config>(target).is_ok());
    keys.insert("dicom.target".to_owned());
    keys
}

/// Words like `engine.batch` and sections like `[intake]`.
fn mentioned(text: &str, keys: &BTreeSet<String>) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    let words =
        text.split(|c: char| !part(c) && !c.is_ascii_alphanumeric() && c != '/' && c != '-');
    let dotted = words.map(|word| word.trim_matches('.')).filter(|word| {
        word.chars().all(part)
            && !word.ends_with('_')
            && word.split_once('.').is_some_and(|(section, key)| {
                keys.contains(section) && !["rs", "toml", "md", "service"].contains(&key)
            })
    });
    let sections = text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(s, _)| s);
    let sections = sections.filter(|section| {
        section.split_once('.').is_some_and(|(first, _)| keys.contains(first))
            && section.chars().all(part)
    });
    dotted.chain(sections).map(str::to_owned).collect()
}

#[test]
fn every_configuration_key_that_is_mentioned_exists() {
    let keys = keys();
    let mut wrong = Vec::new();
    let mut seen = 0;
    let mut texts = all(&["docs", "config"], "md");
    texts.extend(all(&["config"], "toml"));
    for name in ["README.md", "ARCHITECTURE.md"] {
        texts.push((root().join(name), std::fs::read_to_string(root().join(name)).unwrap()));
    }
    let sources = all(&["src", "crates"], "rs").into_iter();
    texts.extend(sources.map(|(path, code)| (path, literals(&code))));
    for (path, text) in &texts {
        for key in mentioned(text, &keys) {
            seen += 1;
            if !keys.contains(&key) {
                wrong.push(format!("{}: {key}", path.display()));
            }
        }
    }
    assert!(seen > 50, "mentions are found: {seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    let strange = mentioned("advice: set `engine.nonsense` or [intake.phasen]", &keys);
    assert_eq!(strange.len(), 2, "what does not exist is found: {strange:?}");
}

/// Codes are written down where they arise, as text in these calls.
const CALLS: [&str; 5] =
    ["set_wrong(\"", "again(job, \"", "give_up(job, \"", "Suspect(\"", "Code::fixed(\""];

#[test]
fn every_code_that_can_be_sent_is_explained() {
    let known: BTreeSet<&str> =
        chapters().iter().flat_map(|chapter| &chapter.codes).map(|meaning| meaning.code).collect();
    let (mut wrong, mut found) = (Vec::new(), [0; CALLS.len()]);
    for (path, code) in all(&["src/daemon", "src/publish"], "rs") {
        for (call, seen) in CALLS.iter().zip(&mut found) {
            *seen += code.matches(*call).count();
            let said = code.split(*call).skip(1).filter_map(|rest| rest.split('"').next());
            let said = said.filter(|word| {
                *word != "bundle"
                    && path
                        .file_stem()
                        .is_none_or(|stem| !stem.to_string_lossy().ends_with("tests"))
            });
            wrong.extend(said.filter(|word| !known.contains(word)).map(str::to_owned));
        }
    }
    assert!(found.iter().all(|count| *count > 0), "a call that is nowhere: {CALLS:?} {found:?}");
    // What is wrong with an engine, in events and in the status.
    let faults =
        [EngineFault::SelfTestFailed, EngineFault::SelfTestCrashed, EngineFault::EngineUnusable];
    wrong.extend(
        faults
            .map(EngineFault::name)
            .into_iter()
            .filter(|word| !known.contains(word))
            .map(str::to_owned),
    );
    // Of commands.
    let commands = all(&["src/cli", "src/doctor", "src/demo", "src/support_bundle"], "rs");
    let commands: String = commands.into_iter().map(|(_, text)| text).collect();
    for call in ["Failure::refused(\"", "with_code(\""] {
        let said = commands.split(call).skip(1).filter_map(|rest| rest.split('"').next());
        wrong.extend(said.filter(|word| !known.contains(word)).map(str::to_owned));
    }
    // The quality of a report: the name is the last argument.
    let analyze: String = all(&["src/analyze"], "rs").into_iter().map(|(_, text)| text).collect();
    let flags = analyze.split(" flag(").skip(1).filter_map(|rest| rest.split(");").next());
    let flags = flags.filter_map(|call| call.rsplit('"').nth(1)).collect::<Vec<_>>();
    assert!(flags.len() > 3, "{flags:?}");
    let told = |word: &str| known.contains(word) || known.contains(&*format!("phase_*_{word}"));
    wrong.extend(flags.into_iter().filter(|word| !told(word)).map(str::to_owned));
    // Names by which errors of engines and of phases that do not lie on one grid are told.
    for file in [
        "src/package.rs",
        "slots/types.rs",
        "slots/mod.rs",
        "cascade/src/align.rs",
        "register/src/align.rs",
    ] {
        let text =
            all(&["crates"], "rs").into_iter().find(|(path, _)| path.ends_with(file)).unwrap().1;
        let told = text.split("fn code(&self)").skip(1).flat_map(|rest| {
            let body = rest.split("\n    }\n").next().unwrap();
            body.split("=> \"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .collect::<Vec<_>>()
        });
        wrong.extend(told.filter(|word| !known.contains(word)).map(str::to_owned));
    }
    assert!(wrong.is_empty(), "explain in src/codes/: {wrong:#?}");
}

fn held(name: &str, text: &str) {
    let file = root().join("docs").join(name);
    if std::env::var("REGENERATE").is_ok_and(|value| value == "1") {
        std::fs::write(&file, text).unwrap();
    }
    let shipped = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(shipped == text, "{} is out of date: run with REGENERATE=1", file.display());
}

#[test]
fn the_page_of_codes_is_what_the_code_says() {
    let mut page = String::from(
        "# Codes\n\nWritten from the code (`src/codes/`, `src/intake/refusal_codes.rs`, \
         `src/intake/reading/quality.rs`); a test holds the two together.\nA code is part of the contract: it is never used for something else.\n",
    );
    for chapter in chapters() {
        write!(page, "\n## {}\n\nSeen in {}.\n\n", chapter.title, chapter.seen).unwrap();
        page.push_str("| code | meaning | what to do |\n|---|---|---|\n");
        for meaning in chapter.codes {
            let (code, sentence) = (meaning.code, meaning.sentence);
            writeln!(page, "| `{code}` | {sentence} | {} |", meaning.advice).unwrap();
        }
    }
    held("codes.md", &page);
}

const MQTT_HEAD: &str = "# The MQTT contract, v1

Written from the types in `src/publish`; a test holds the two together. The same as JSON Schemas
lies in `config/schemas`.

Topics begin with `<base>/v1/<device>/`: `mqtt.base` and `device.name`. Messages are JSON (UTF-8),
at most {MAX_BYTES} bytes, QoS 1, with content type `application/json` and the user properties
`schema` and, for events, `id`. Times are RFC 3339 in UTC with milliseconds. Within v1 no field is
ever re-typed; ignore fields you do not know. No message names a patient (`device.privacy`).

| topic | retained | content |
|---|---|---|
| `availability` | yes | plain text `online` or `offline`; the last will is `offline` |
| `info` | yes | the birth message, on every connect |
| `status` | yes | how the device is, and why |
| `health` | yes | vital signs, every `mqtt.health_s` seconds |
| `worklist` | yes | the open alerts |
{EVENTS}
| `cmd/ping`, `cmd/ack`, `cmd/replay`, `cmd/reprocess` | no | commands, taken only with `mqtt.commands` |
| `reply/<client>` | no | answers, on the response topic of the command |

Events come at least once, oldest first. Deduplicate by `id`, which is the same after a crash, a
retry or a replay; a gap in `seq` means loss: send `cmd/replay`. A late series opens the study
again as a higher `rev`, and `supersedes` names the event that is replaced. Keep the session
(`clean_session false`, QoS 1). What codes mean is in `codes.md`, who a study is in `privacy.md`.

## MQTT 3.1.1

With `mqtt.protocol = \"3.1.1\"` topics and bodies are the same, without properties: `schema` or
`dataschema` and `id` stand in the body as always. A command's body may say `reply_to` (a topic below
`reply/`) and `correlation` (a text, sent back in the answer) with either version. What this version
cannot tell: why a broker refuses a message, and how large one may be.

## Who has seen an alert

With `mqtt.escalate_after_min` an alert that stays open (nobody sends `cmd/ack` with its `id`) is told
again as `event/escalation`, `mqtt.escalate_times` times at most. An acknowledgement says `by` which
role, never a person's name, and may carry a `verdict`: `agreed`, `disagreed` or `other`, also later,
once the alert is closed; of several the last one counts. `hepalert quality` counts them by device,
engine and month.

## Commands

The topic names the command, the body holds its fields; a ping's body is empty. Where the answer goes is
the response topic (MQTT 5) or `reply_to`. Commands are never obeyed from a broker's memory: do not retain
them. A body over {MAX_BYTES} bytes does not arrive: the device tells the broker that it takes no more.

```sh
mosquitto_sub -V 5 -t 'hepalert/v1/ct-1/reply/desk' &
ask() { mosquitto_pub -V 5 -q 1 -D publish response-topic hepalert/v1/ct-1/reply/desk -t \"hepalert/v1/ct-1/cmd/$1\" -m \"$2\"; }
ask ping ''
ask ack '{\"id\":\"0c5f1d0e-6c1c-5a0e-9f61-2f3d3c1c9a77\",\"by\":\"reading-room\",\"verdict\":\"agreed\"}'
ask replay '{\"from_seq\":1,\"to_seq\":99}'
ask reprocess '{\"study_key\":\"3f0c7a1e5b9d4c2a8e6f1b0d7c5a9e42\"}'
```

## Who comes late

A subscriber that was away gets what its session kept. One that is new gets the retained messages:
`worklist` names the alerts that are open (at most 50), `status` and `availability` how the device is,
`info` with `next_seq`, the number that the next event had when the device connected. With `mqtt.commands`, `cmd/replay`
sends again what was sent before and is kept (`{\"from_seq\": 1, \"to_seq\": 99}`, with a response topic below `reply/`); those events
carry `replay: true` and their first `id`. An alert stays in the worklist until `cmd/ack` closes
it or a later revision takes it back.

## A broker to develop against

```sh
sudo apt-get install mosquitto mosquitto-clients
mosquitto -p 18830 &                            # for this machine alone, nothing kept
mosquitto_sub -p 18830 -t 'hepalert/v1/+/#' -v &
scripts/demo                                    # or a daemon with [mqtt] port = 18830
```

`scripts/demo` starts a broker of its own and prints its port in its first lines: subscribe there to
see a whole study go by. `config/mosquitto` has a broker for a site: TLS, passwords, an access list.

## Examples

From a demonstration; the lists of engines, schemas and artefacts are shortened. Each is held against its schema.
";

/// What a subscriber sees, in the order in which it matters to one.
const EXAMPLES: [&str; 10] = [
    "alert",
    "study",
    "result",
    "escalation",
    "engine",
    "worklist",
    "status",
    "health",
    "info",
    "reply",
];

const fn what(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Study => "a study's way: its steps, and why it was refused or failed",
        EventKind::Result => "every finished study, negatives included",
        EventKind::Alert => "a suspected or uncertain study",
        EventKind::Escalation => "an alert that nobody has acknowledged, told again",
        EventKind::Engine => "a change of engine",
    }
}

#[test]
fn the_page_of_messages_is_what_the_types_say() {
    let events = EventKind::ALL.map(|kind| format!("| `{}` | no | {} |", kind.topic(), what(kind)));
    let head = MQTT_HEAD.replace("{MAX_BYTES}", &MAX_BYTES.to_string());
    let mut page = head.replace("{EVENTS}", &events.join("\n"));
    for name in EXAMPLES {
        let file = root().join("tests/data/mqtt").join(name).with_extension("json");
        let text = std::fs::read_to_string(file).unwrap();
        let example: Value = serde_json::from_str(&text).unwrap();
        let (_, schema) = schemas().into_iter().find(|(of, _)| *of == name).unwrap();
        let checked = jsonschema::validator_for(schema.as_value()).unwrap();
        let faults: Vec<String> = checked.iter_errors(&example).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
        write!(page, "\n`{name}`:\n\n```json\n{}\n```\n", text.trim_end()).unwrap();
    }
    for (name, schema) in schemas() {
        let schema = schema.as_value();
        write!(page, "\n## `{name}`\n\n{}\n", text(schema)).unwrap();
        variants(&mut page, schema);
        fields(&mut page, schema);
        let Some(parts) = schema["$defs"].as_object() else { continue };
        for (part, schema) in parts {
            write!(page, "\n`{part}`: {}\n", text(schema)).unwrap();
            variants(&mut page, schema);
            fields(&mut page, schema);
        }
    }
    held("mqtt.md", &page);
}

fn text(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

fn variants(page: &mut String, schema: &Value) {
    if let Some(bodies) = schema["anyOf"].as_array() {
        for body in bodies {
            let name = body["title"].as_str().unwrap();
            let has_fields =
                body["properties"].as_object().is_some_and(|fields| !fields.is_empty());
            let none = if has_fields { "" } else { " No fields." };
            write!(page, "\n`{name}`: {}{none}\n", text(body)).unwrap();
            if has_fields {
                fields(page, body);
            }
        }
        return;
    }
    let Some(variants) = schema["oneOf"].as_array() else { return };
    page.push('\n');
    for variant in variants {
        let values = variant["const"].as_str().map(|value| vec![value]);
        let listed =
            || Some(variant["enum"].as_array()?.iter().filter_map(Value::as_str).collect());
        let named =
            || Some(variant["properties"].as_object()?.keys().map(String::as_str).collect());
        let values: Vec<&str> = values.or_else(listed).or_else(named).unwrap_or_default();
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        writeln!(page, "- {}: {}", values.join(", "), text(variant)).unwrap();
    }
}

fn fields(page: &mut String, schema: &Value) {
    let Some(fields) = schema["properties"].as_object() else { return };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    page.push_str("\n| field | type | | meaning |\n|---|---|---|---|\n");
    for (name, field) in fields {
        let always = if required.contains(&name.as_str()) { "always" } else { "" };
        writeln!(page, "| `{name}` | {} | {always} | {} |", kind(field), text(field)).unwrap();
    }
}

/// The type of a field in a word.
fn kind(field: &Value) -> String {
    if let Some(part) = field["$ref"].as_str() {
        return format!("`{}`", part.rsplit('/').next().unwrap());
    }
    if let Some(choices) = field["anyOf"].as_array() {
        let choices = choices.iter().filter(|choice| choice["type"] != "null");
        return choices.map(kind).collect::<Vec<_>>().join(" or ");
    }
    let plain = match &field["type"] {
        Value::String(one) => one.clone(),
        Value::Array(several) => several
            .iter()
            .filter_map(Value::as_str)
            .filter(|one| *one != "null")
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    };
    match plain.as_str() {
        "array" => format!("list of {}", kind(&field["items"])),
        _ => plain,
    }
}

#[test]
fn the_conformance_statement_is_what_the_code_says() {
    let text = std::fs::read_to_string(root().join("docs/dicom.md")).unwrap();
    let (before, rest) = text.split_once("<!-- conformance -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /conformance -->").unwrap();
    let said = hepalert::dicom::services::conformance();
    let wanted = format!("{before}<!-- conformance -->\n{said}\n<!-- /conformance -->{after}");
    held("dicom.md", &wanted);
}

#[test]
fn the_page_on_labelling_lists_what_every_label_value_means() {
    let page = std::fs::read_to_string(root().join("docs/labelling.md")).unwrap();
    let row = format!("| {} |", hepalert_study::anatomy::class_names().join(" | "));
    assert!(page.contains(&row), "docs/labelling.md holds no line `{row}`");
}
