//! What the types of the configuration cannot say: each section's limits, by key.

use std::path::{Path, PathBuf};

use super::{Config, Dicom, DicomTarget, Engine, Gate, Intake, Mqtt, Worker};
use crate::dicom::services::is_ae_title;
use crate::dicom::stow::{is_secure, is_url};
use hepalert_study::protocol::{MAX_BASE, MAX_DEVICE, is_base_topic, is_device_name};

/// A value that cannot be used.
pub(super) struct Fault {
    pub(super) key: &'static str,
    /// Another key that it does not go together with.
    pub(super) with: Option<&'static str>,
    /// What the key must be.
    pub(super) reason: String,
}

/// Checks every section; the first fault is told.
pub(super) fn check(config: &Config) -> Result<(), Fault> {
    let Config { device, intake, gate, phases, engine, worker, store, mqtt, dicom, web } = config;
    let name = format!("1 to {MAX_DEVICE} of a-z, 0-9 and -");
    must(is_device_name(&device.name), "device.name", &name)?;
    let absolute = "a path from / on: the daemon runs in a folder of its own";
    must(store.folder.is_absolute(), "store.folder", absolute)?;
    must(device.site_key_file.is_absolute(), "device.site_key_file", absolute)?;
    apart(config)?;
    of_mqtt(mqtt)?;
    of_dicom(dicom)?;
    of_intake(intake, dicom)?;
    if let Err(reason) = phases.rules() {
        return Err(Fault { key: "phases.rule", with: None, reason });
    }
    of_gate(gate)?;
    of_engine(engine)?;
    if let Some((key, with, reason)) = web.fault() {
        return Err(Fault { key, with, reason: reason.to_owned() });
    }
    of_worker(worker)
}

fn must(holds: bool, key: &'static str, reason: &str) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault { key, with: None, reason: reason.to_owned() }) }
}

/// As [`must`], for two keys that do not go together.
fn agree(holds: bool, [key, with]: [&'static str; 2], reason: &str) -> Result<(), Fault> {
    must(holds, key, reason).map_err(|fault| Fault { with: Some(with), ..fault })
}

/// What the daemon writes never lies where it looks for studies.
fn apart(config: &Config) -> Result<(), Fault> {
    let Some(export) = &config.intake.folder else { return Ok(()) };
    let export = resolved(export);
    let store = resolved(&config.store.folder);
    agree(
        !store.starts_with(&export) && !export.starts_with(&store),
        ["store.folder", "intake.folder"],
        "outside of intake.folder, and not around it: what is written would be taken in",
    )?;
    let labels = config.web.labels_folder.as_deref().map(resolved);
    agree(
        labels.is_none_or(|labels| !labels.starts_with(&export)),
        ["web.labels_folder", "intake.folder"],
        "outside of intake.folder: labels are written there, and would be taken in",
    )?;
    let slots = config.engine.slots.as_deref().map(resolved);
    agree(
        slots.is_none_or(|slots| !slots.starts_with(&export)),
        ["engine.slots", "intake.folder"],
        "outside of intake.folder: what is written would be taken in",
    )
}

/// A path without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let (Ok(there), Ok(rest)) = (above.canonicalize(), path.strip_prefix(above)) {
            return there.join(rest);
        }
    }
    path.to_owned()
}

fn of_mqtt(mqtt: &Mqtt) -> Result<(), Fault> {
    let base = format!("at most {MAX_BASE} of a-z, 0-9, - and _, in parts separated by /");
    must(is_base_topic(&mqtt.base), "mqtt.base", &base)?;
    must(!mqtt.host.is_empty(), "mqtt.host", "the broker's name or address")?;
    must(mqtt.port > 0, "mqtt.port", "a port from 1 to 65535")?;
    must(mqtt.keep_alive_s >= 5, "mqtt.keep_alive_s", "at least 5 s")?;
    must(mqtt.health_s >= 1, "mqtt.health_s", "at least 1 s")?;
    let authority = !mqtt.tls || mqtt.ca_file.is_some();
    agree(
        authority,
        ["mqtt.tls", "mqtt.ca_file"],
        "false, or name the authority of the broker's certificate in mqtt.ca_file",
    )?;
    let of_tls = mqtt.tls || mqtt.ca_file.is_none();
    agree(
        of_tls,
        ["mqtt.tls", "mqtt.ca_file"],
        "true, or the authority's certificate is of no use",
    )?;
    let told = mqtt.escalate_after_min.is_none() || mqtt.commands;
    agree(
        told,
        ["mqtt.commands", "mqtt.escalate_after_min"],
        "true, or nobody can acknowledge what escalates",
    )?;
    must((1..=100).contains(&mqtt.escalate_times), "mqtt.escalate_times", "1 to 100")?;
    agree(
        mqtt.password_file.is_some() || mqtt.username.is_none(),
        ["mqtt.password_file", "mqtt.username"],
        "the file with the password of mqtt.username",
    )?;
    agree(
        mqtt.username.is_some() || mqtt.password_file.is_none(),
        ["mqtt.username", "mqtt.password_file"],
        "the name that the password in mqtt.password_file is for",
    )?;
    let mutual = mqtt.cert_file.is_some() == mqtt.key_file.is_some();
    agree(
        mutual,
        ["mqtt.key_file", "mqtt.cert_file"],
        "named together with mqtt.cert_file, or not at all",
    )
}

fn of_intake(intake: &Intake, dicom: &Dicom) -> Result<(), Fault> {
    let has_source = intake.folder.is_some() || dicom.listen.is_some();
    must(has_source, "intake.folder", "the path of a folder, or dicom.listen")?;
    must(intake.rescan_s >= 1, "intake.rescan_s", "at least 1 s")?;
    let ordered = intake.quiet_s <= intake.force_complete_s;
    agree(ordered, ["intake.force_complete_s", "intake.quiet_s"], "not less than intake.quiet_s")?;
    let patient = intake.settle_s <= intake.give_up_s;
    agree(patient, ["intake.give_up_s", "intake.settle_s"], "not less than intake.settle_s")
}

fn of_gate(gate: &Gate) -> Result<(), Fault> {
    must((0.0..=1e6).contains(&gate.kvp_min), "gate.kvp_min", "0 to 1000000 kV")?;
    must((0.0..=1e6).contains(&gate.kvp_max), "gate.kvp_max", "0 to 1000000 kV")?;
    agree(
        gate.kvp_min <= gate.kvp_max,
        ["gate.kvp_max", "gate.kvp_min"],
        "a number not less than gate.kvp_min",
    )?;
    must((0.0..=10_000.0).contains(&gate.min_extent_mm), "gate.min_extent_mm", "0 to 10000 mm")?;
    must((1..=1_000_000).contains(&gate.max_files), "gate.max_files", "1 to 1000000")
}

fn of_engine(engine: &Engine) -> Result<(), Fault> {
    let patches = (1..=64).contains(&engine.patches_per_lesion);
    must(patches, "engine.patches_per_lesion", "1 to 64")?;
    must((1..=64).contains(&engine.batch), "engine.batch", "1 to 64")?;
    runs(engine)?;
    let gain = engine.high_gain.is_none_or(|gain| (1.0..=1e6).contains(&gain));
    must(gain, "engine.high_gain", "0 for the bundle's own, or 1 to 1e6")?;
    let volume = |cm3: f64| (0.0..=1e6).contains(&cm3);
    must(volume(engine.keep_above_cm3), "engine.keep_above_cm3", "0 to 1e6 cm3")?;
    must(volume(engine.discard_below_cm3), "engine.discard_below_cm3", "0 to 1e6 cm3")?;
    must(engine.memory_budget_mib >= 16, "engine.memory_budget_mib", "at least 16 MiB")?;
    must(
        engine.threads.is_none_or(|threads| threads <= 1024),
        "engine.threads",
        "0 for all cores, or up to 1024",
    )?;
    must((1..=8).contains(&engine.signatures_needed), "engine.signatures_needed", "1 to 8")?;
    must((1..=720).contains(&engine.selftest_hours), "engine.selftest_hours", "1 to 720 h")
}

fn of_worker(worker: &Worker) -> Result<(), Fault> {
    must((1..=20).contains(&worker.attempts), "worker.attempts", "1 to 20")?;
    must(worker.stall_s >= 5, "worker.stall_s", "at least 5 s")?;
    let deadline = worker.deadline_s >= worker.stall_s;
    agree(deadline, ["worker.deadline_s", "worker.stall_s"], "not less than worker.stall_s")
}

/// Whether this program has the backend, and the backend the numbers.
fn runs(engine: &Engine) -> Result<(), Fault> {
    let Engine { backend, precision, .. } = engine;
    let able = backend.precisions();
    if able.is_empty() {
        let reason =
            format!("another one, such as \"native\": this program was built without {backend}");
        return Err(Fault { key: "engine.backend", with: None, reason });
    }
    if able.contains(precision) {
        return Ok(());
    }
    let able: Vec<String> = able.iter().map(|one| format!("\"{one}\"")).collect();
    let reason = format!("{}: engine.backend is \"{backend}\"", able.join(" or "));
    Err(Fault { key: "engine.precision", with: Some("engine.backend"), reason })
}

fn of_dicom(dicom: &Dicom) -> Result<(), Fault> {
    must(is_ae_title(&dicom.ae_title), "dicom.ae_title", "1 to 16 printable characters")?;
    let titles = dicom.allow_ae.iter().all(|title| is_ae_title(title));
    must(titles, "dicom.allow_ae", "AE titles of 1 to 16 printable characters")?;
    must((1..=500).contains(&dicom.max_associations), "dicom.max_associations", "1 to 500")?;
    must((1..=4096).contains(&dicom.max_instance_mib), "dicom.max_instance_mib", "1 to 4096 MiB")?;
    must((1..=600).contains(&dicom.timeout_s), "dicom.timeout_s", "1 to 600 s")?;
    let pair = dicom.server_cert_file.is_some() == dicom.server_key_file.is_some();
    agree(
        pair,
        ["dicom.server_key_file", "dicom.server_cert_file"],
        "named together with dicom.server_cert_file, or not at all",
    )?;
    let authority = dicom.client_ca_file.is_none() || dicom.server_cert_file.is_some();
    agree(
        authority,
        ["dicom.server_cert_file", "dicom.client_ca_file"],
        "this device's certificate, since dicom.client_ca_file asks senders for theirs",
    )?;
    must(dicom.spool_keep_h <= 8760, "dicom.spool_keep_h", "0 to 8760 h")?;
    dicom.target.iter().try_for_each(of_target)?;
    let mut names: Vec<&str> = dicom.target.iter().map(|target| target.name.as_str()).collect();
    names.sort_unstable();
    let distinct = names.windows(2).all(|pair| pair[0] != pair[1]);
    must(distinct, "dicom.target", "names that differ")
}

fn of_target(target: &DicomTarget) -> Result<(), Fault> {
    let fault = |reason: &str| {
        Err(Fault {
            key: "dicom.target",
            reason: format!("{:?}: {reason}", target.name),
            with: None,
        })
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if target.name.is_empty() || target.name.len() > 32 || !target.name.chars().all(plain) {
        return fault("needs a name of 1 to 32 of a-z, 0-9 and -");
    }
    if target.cert_file.is_some() != target.key_file.is_some() {
        return fault("a certificate needs its key and the other way round");
    }
    if target.commitment_only && target.url.is_some() {
        return fault("commitment_only needs host, port and ae_title: it is told by DIMSE");
    }
    match (&target.host, &target.url) {
        (Some(_), Some(_)) | (None, None) => fault("needs either host (C-STORE) or url (STOW-RS)"),
        (Some(_), None) => {
            let Some(title) = target.ae_title.as_deref().filter(|_| target.port.is_some()) else {
                return fault("needs port, and the archive's ae_title");
            };
            if !is_ae_title(title) {
                return fault("ae_title has 1 to 16 printable characters");
            }
            if target.tls && target.ca_file.is_none() {
                return fault("tls needs ca_file, the authority of the archive's certificate");
            }
            Ok(())
        }
        (None, Some(url)) => {
            if !is_url(url) {
                return fault("url is no address such as https://pacs/dicom-web");
            }
            if target.token_file.is_some() && !is_secure(url) {
                return fault(
                    "token_file needs an https url: in plain text everybody on the way reads it",
                );
            }
            if is_secure(url) && target.ca_file.is_none() {
                return fault("https needs ca_file, the authority of the archive's certificate");
            }
            Ok(())
        }
    }
}
