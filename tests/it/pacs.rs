//! DICOM in and out, with programs that nobody here wrote: dcmtk sends and stores, Orthanc is the
//! archive. Left out with a print where they are not installed, and a failure under `CI=true`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber, free_port};
use crate::daemon::{Heart, House, has_reason, is_online, wait_until};
use crate::objects::{is_installed, left_out, patient, said, told};
use crate::peers::Program;
use crate::support::hepalert;
use hepalert_voxels::volume::dicom::read::read_header;

/// Orthanc with DICOMweb, in a folder of its own.
struct Orthanc {
    child: Child,
    web: u16,
    dicom: u16,
    folder: tempfile::TempDir,
}

const PLUGIN: &str = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so";

impl Orthanc {
    fn start() -> Option<Orthanc> {
        Orthanc::start_with(&serde_json::json!({}))
    }

    /// With further settings.
    fn start_with(more: &Value) -> Option<Orthanc> {
        let program =
            ["/usr/sbin/Orthanc", "/usr/bin/Orthanc"].into_iter().find(|p| Path::new(p).exists());
        let Some(program) = program.filter(|_| Path::new(PLUGIN).exists()) else {
            left_out("Orthanc with its DICOMweb plug-in");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (web, dicom) = (free_port(), free_port());
        let mut config = serde_json::json!({
            "Name": "test", "StorageDirectory": folder.path().join("db"),
            "IndexDirectory": folder.path().join("db"), "Plugins": [PLUGIN],
            "HttpPort": web, "DicomPort": dicom, "DicomAet": "ARCHIVE", "RemoteAccessAllowed": false,
            "AuthenticationEnabled": false, "DicomCheckCalledAet": true,
            "DicomAlwaysAllowStore": true, "DicomAlwaysAllowEcho": true,
            "DicomWeb": { "Enable": true, "Root": "/dicom-web/" },
        });
        let settings = config.as_object_mut().unwrap();
        settings.extend(more.as_object().unwrap().clone());
        let file = folder.path().join("orthanc.json");
        fs::write(&file, config.to_string()).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let orthanc = Orthanc { child: command.spawn().unwrap(), web, dicom, folder };
        wait_until(|| orthanc.try_get("/system"));
        Some(orthanc)
    }

    fn try_get(&self, path: &str) -> Option<Value> {
        let mut line = TcpStream::connect(("127.0.0.1", self.web)).ok()?;
        line.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(line, "GET {path} HTTP/1.0\r\nAccept: application/json\r\n\r\n").ok()?;
        let mut answer = String::new();
        line.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Modality, SOP class and instance of every instance, by QIDO-RS.
    fn instances(&self, study: &str) -> Vec<[String; 3]> {
        let path = format!("/dicom-web/studies/{study}/instances?includefield=all");
        let Some(Value::Array(found)) = self.try_get(&path) else { return Vec::new() };
        let text =
            |item: &Value, tag: &str| item[tag]["Value"][0].as_str().unwrap_or_default().to_owned();
        let row = |item: &Value| ["00080060", "00080016", "00080018"].map(|tag| text(item, tag));
        found.iter().map(row).collect()
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.folder;
    }
}

/// More lines for a house: nothing is exported, images come by DICOM.
fn receiving(house: &House, port: u16, more: &str) {
    let config = fs::read_to_string(house.config()).unwrap();
    let export = format!("folder = {:?}", house.export());
    let config = config.replacen(&export, "folder = \"\"", 1);
    let dicom = format!("[dicom]\nlisten = \"127.0.0.1:{port}\"\ntimeout_s = 5\n{more}");
    fs::write(house.config(), config + &dicom).unwrap();
}

pub(crate) fn store(port: u16, called: &str, files: &Path) -> std::process::Output {
    let mut command = Command::new("storescu");
    command.args(["-xs", "-R", "-aet", "SCANNER", "-aec", called, "127.0.0.1", &port.to_string()]);
    command.args(["+sd", "+r"]).arg(files).output().unwrap()
}

fn study_uid(series: &Path) -> String {
    let first = fs::read_dir(series).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(first).unwrap();
    let header = hepalert_voxels::volume::dicom::read::read_header(&bytes).unwrap();
    header.study_uid
}

#[test]
fn a_study_comes_in_by_dicom_and_its_findings_go_into_the_archive() {
    if !is_installed("storescu") {
        return;
    }
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let Some(orthanc) = Orthanc::start() else { return };
    let Some(python) = crate::objects::python() else { return };
    let cannot_understand = 0xc000.to_string();
    let (_stubborn, ports) =
        Program::script(&python, "moody_archive.py", &[cannot_understand.as_str()]);
    let scratch = tempfile::tempdir().unwrap();
    let series = patient(scratch.path());
    let study = study_uid(&series);
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let house = House::new(broker.port, 1);
    let port = free_port();
    let targets = format!(
        "[[dicom.target]]\nname = \"pacs\"\nhost = \"127.0.0.1\"\nport = {}\nae_title = \"ARCHIVE\"\n\
         [[dicom.target]]\nname = \"web\"\nurl = \"http://127.0.0.1:{}/dicom-web\"\n\
         [[dicom.target]]\nname = \"strict\"\nhost = \"127.0.0.1\"\nport = {}\nae_title = \"OTHER\"\n\
         [[dicom.target]]\nname = \"stubborn\"\nhost = \"127.0.0.1\"\nport = {}\nae_title = \"MOODY\"\n",
        orthanc.dicom, orthanc.web, orthanc.dicom, ports[0],
    );
    receiving(&house, port, &targets);
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, is_online);
    wait_until(|| TcpStream::connect(("127.0.0.1", port)).ok());
    let sent = store(port, "HEPALERT", &series);
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    heart.listen(&subscriber, |topic, _| topic.ends_with("event/alert"));
    // An archive that knows this one by another title lets nothing in: that is told.
    heart.listen(&subscriber, |topic, message| {
        has_reason(topic, message, "dicom_target_refuses_us")
    });
    let there = wait_until(|| {
        let there = orthanc.instances(&study);
        let all = ["SEG", "SR", "OT"].iter().all(|wanted| there.iter().any(|[m, ..]| m == wanted));
        all.then_some(there)
    });
    let key = heart.of("event/alert")[0]["subject"].as_str().unwrap().to_owned();
    // By C-STORE and by STOW-RS, and once more by hand: each object once.
    let status = || -> Value {
        let told = hepalert().args(["--json", "status", "--config"]).arg(house.config()).output();
        serde_json::from_slice(&told.unwrap().stdout).unwrap_or_default()
    };
    let objects =
        fs::read_dir(house.state().join(format!("results/{key}-r1/dicom"))).unwrap().count();
    wait_until(|| (status()["objects_waiting"] == objects).then_some(()));
    let mut again = hepalert();
    said(again.args(["send", &key, "--to", "web", "--config"]).arg(house.config()));
    wait_until(|| (status()["objects_waiting"] == objects).then_some(()));
    let twice = orthanc.instances(&study);
    assert_eq!(twice.len(), objects, "{there:?} {twice:?}");
    let echo = |name: &str| {
        hepalert().args(["dicom", "echo", name, "--config"]).arg(house.config()).output().unwrap()
    };
    assert!(echo("pacs").status.success() && echo("web").status.success());
    let refused = echo("strict");
    assert!(!refused.status.success());
    // What one refuses is told, with its name, and holds nothing back.
    wait_until(|| (status()["objects_refused"] == objects).then_some(()));
    assert!(house.log().contains("status 0xc000 (cannot understand)"), "{}", house.log());
    // The same images once more, compressed by somebody on the way: nothing new.
    let again = scratch.path().join("again");
    fs::create_dir(&again).unwrap();
    for entry in fs::read_dir(&series).unwrap() {
        let file = entry.unwrap().path();
        said(Command::new("dcmcjpeg").arg(&file).arg(again.join(file.file_name().unwrap())));
    }
    let sent = Command::new("storescu")
        .args(["-xs", "-R", "-aet", "SCANNER", "-aec", "HEPALERT", "127.0.0.1", &port.to_string()])
        .args(["+sd", "+r"])
        .arg(&again)
        .output()
        .unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    wait_until(|| house.log().contains("the same study again").then_some(()));
    // For whoever looks into a failure: images and result, and nobody's name.
    let shared = scratch.path().join("shared");
    let mut export = hepalert();
    export.args(["export", &key, "--deidentify", "--out"]).arg(&shared);
    said(export.arg("--config").arg(house.config()));
    let report = fs::read(house.state().join(format!("results/{key}-r1/report.json"))).unwrap();
    let lesions: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let tracked = lesions["lesions"].as_array().unwrap().iter();
    let tracked: Vec<&str> = tracked.filter_map(|one| one["tracking_uid"].as_str()).collect();
    assert!(!tracked.is_empty(), "findings can be told again by their UIDs");
    let exported = spooled(&shared);
    assert_eq!(exported.len(), fs::read_dir(&series).unwrap().count() + 5, "{exported:?}");
    for path in &exported {
        let bytes = fs::read(path).unwrap();
        let says =
            |words: &str| bytes.windows(words.len()).any(|window| window == words.as_bytes());
        for identifier in
            ["PHANTOM^7", "PHANTOM-7", &study, &key].into_iter().chain(tracked.clone())
        {
            assert!(!says(identifier), "{identifier} is in {}", path.display());
        }
        if path.extension().is_some_and(|ending| ending == "dcm")
            && path.starts_with(shared.join("images"))
        {
            hepalert_voxels::volume::dicom::read::read_slice(&bytes).unwrap();
        }
    }
    daemon.stop();
    while let Some(heard) = subscriber.next(Duration::from_millis(300)) {
        // The last word is no JSON.
        let message = serde_json::from_slice(&heard.body).unwrap_or(Value::Null);
        heart.events.push((heard.topic, message));
    }
    assert_eq!(heart.of("event/alert").len(), 1, "one study, one alert");
    let steps = heart.of("event/study").into_iter();
    let refusals = steps.filter(|step| step["data"]["target"] == "stubborn").count();
    assert_eq!(refusals, 1, "heard of once for each archive");
    assert_eq!(orthanc.instances(&study).len(), objects, "and no twins");
    // Archives that are configured no longer are not waited for.
    let config = fs::read_to_string(house.config()).unwrap();
    fs::write(house.config(), config.split("[[dicom.target]]").next().unwrap()).unwrap();
    let told = status();
    assert_eq!([&told["objects_waiting"], &told["objects_refused"]], [0, 0]);
    // Who the patient is stands in the objects and nowhere else.
    let told = format!("{:?}{}", heart.events, house.log());
    for identifier in ["PHANTOM", "2.25."] {
        assert!(!told.contains(identifier), "{identifier} was told: {told}");
    }
    assert!(!String::from_utf8_lossy(&report).contains("PHANTOM"));
}

#[test]
fn a_daemon_that_dies_between_two_objects_sends_each_once() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let Some(orthanc) = Orthanc::start() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let series = patient(scratch.path());
    let study = study_uid(&series);
    let house = House::new(broker.port, 1);
    let config = fs::read_to_string(house.config()).unwrap();
    let target = format!(
        "[[dicom.target]]\nname = \"pacs\"\nhost = \"127.0.0.1\"\nport = {}\n\
         ae_title = \"ARCHIVE\"\n",
        orthanc.dicom
    );
    fs::write(house.config(), config + &target).unwrap();
    let folder = house.export().join("one");
    fs::create_dir(&folder).unwrap();
    crate::daemon::export(&files_of(&series), &folder);
    // Twice: the archive has the object, and the daemon does not know it.
    let mut first = 0;
    for time in [1, 2] {
        let mut daemon = house.start_with(&format!("object_sent:{time}"));
        wait_until(|| daemon.has_ended().then_some(()));
        let there = orthanc.instances(&study).len();
        assert!(there > first, "{there} after {first}");
        first = there;
    }
    let daemon = house.start();
    let store = hepalert::store::Store::open_read_only(&house.database()).unwrap();
    let counts = wait_until(|| {
        let counts = store.delivery_counts(&["pacs"]).unwrap();
        (counts.waiting == 0 && counts.sent > 0).then_some(counts)
    });
    daemon.stop();
    let results = fs::read_dir(house.state().join("results")).unwrap();
    let objects = results.map(|one| files_of(&one.unwrap().path().join("dicom")).len()).sum();
    assert_eq!((counts.sent as usize, counts.refused), (objects, 0));
    assert_eq!(orthanc.instances(&study).len(), objects, "each once");
}

#[test]
fn the_script_for_orthanc_sends_the_ct_series_of_a_study_that_is_stable() {
    if !is_installed("storescu") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let series = patient(dir.path());
    let receiver = receiver(dir.path(), |_| {});
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dicom.md");
    let docs = fs::read_to_string(docs).unwrap();
    let script = docs.split("```lua\n").nth(1).unwrap().split("```").next().unwrap();
    fs::write(dir.path().join("send.lua"), script).unwrap();
    let settings = serde_json::json!({
        "LuaScripts": [dir.path().join("send.lua")], "StableAge": 1,
        "DicomModalities": { "hepalert": ["HEPALERT", "127.0.0.1", receiver.address().port()] },
    });
    let Some(orthanc) = Orthanc::start_with(&settings) else { return };
    // A key image lies in the same study, as results that came back do.
    let one = fs::read_dir(&series).unwrap().next().unwrap().unwrap().path();
    let picture = dir.path().join("picture");
    fs::create_dir(&picture).unwrap();
    let other = picture.join("other.dcm");
    fs::copy(one, &other).unwrap();
    let mut changed = Command::new("dcmodify");
    changed.args(["-nb", "-gse", "-gin", "-m", "0008,0060=OT"]).arg(&other);
    said(changed.args(["-m", "0008,0016=1.2.840.10008.5.1.4.1.1.7"]));
    assert!(store(orthanc.dicom, "ARCHIVE", &picture).status.success());
    assert!(store(orthanc.dicom, "ARCHIVE", &series).status.success());
    let count = fs::read_dir(&series).unwrap().count();
    let spool = dir.path().join("spool");
    wait_until(|| (spooled(&spool).len() >= count).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(spooled(&spool).len(), count, "its images, and nothing else");
}

#[test]
fn where_nobody_waits_for_late_series_images_go_once_their_report_is_stored() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    if !is_installed("storescu") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let series = patient(scratch.path());
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let house = House::new(broker.port, 1);
    let port = free_port();
    receiving(&house, port, "spool_keep_h = 0\n");
    let daemon = house.start_under("HEPALERT_HASTE", "60");
    let mut heart = Heart::default();
    heart.listen(&subscriber, is_online);
    wait_until(|| TcpStream::connect(("127.0.0.1", port)).ok());
    assert!(store(port, "HEPALERT", &series).status.success());
    let completed = |_: &str, message: &Value| message["data"]["state"] == "completed";
    heart.listen(&subscriber, completed);
    let spool = house.state().join("dicom/spool");
    wait_until(|| spooled(&spool).is_empty().then_some(()));
    // Two of its images again, alone: they are known, and nothing is told, by a later run either.
    let some = scratch.path().join("some");
    fs::create_dir(&some).unwrap();
    for path in files_of(&series).iter().take(2) {
        fs::copy(path, some.join(path.file_name().unwrap())).unwrap();
    }
    let part_again = "or a part of it: nothing to do";
    assert!(store(port, "HEPALERT", &some).status.success());
    wait_until(|| (house.log().matches(part_again).count() == 1).then_some(()));
    daemon.stop();
    let daemon = house.start_under("HEPALERT_HASTE", "60");
    wait_until(|| TcpStream::connect(("127.0.0.1", port)).ok());
    assert!(store(port, "HEPALERT", &some).status.success());
    wait_until(|| (house.log().matches(part_again).count() > 1).then_some(()));
    assert!(!heart.of("event/study").iter().any(|step| step["data"]["state"] == "rejected"));
    // A series that comes late, and alone: what was told stands.
    let late = scratch.path().join("late");
    fs::create_dir(&late).unwrap();
    for entry in fs::read_dir(&series).unwrap() {
        let from = entry.unwrap().path();
        let to = late.join(from.file_name().unwrap());
        fs::copy(&from, &to).unwrap();
    }
    said(
        Command::new("dcmodify")
            .args(["-nb", "-m", "0020,000E=1.2.3.4", "-gin"])
            .args(files_of(&late)),
    );
    assert!(store(port, "HEPALERT", &late).status.success());
    heart.listen(&subscriber, |_, message| message["data"]["state"] == "rejected");
    let rejected = heart.of("event/study").pop().unwrap();
    assert_eq!(rejected["data"]["code"], "earlier_images_gone");
    // All of it sent again is read, with what came late.
    assert!(store(port, "HEPALERT", &series).status.success());
    heart.listen(&subscriber, completed);
    daemon.stop();
    let key = rejected["subject"].as_str().unwrap();
    let verdict = |revision: u32| -> Value {
        let report = house.state().join(format!("results/{key}-r{revision}/report.json"));
        let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        report["verdict"].clone()
    };
    assert_eq!([verdict(1), verdict(3)], ["suspected", "suspected"]);
    assert!(!house.log().contains("the path from the watches"), "{}", house.log());
}

#[test]
fn a_study_that_was_sent_again_is_exported_and_an_archive_without_room_is_told() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let Some(python) = crate::objects::python() else { return };
    if !is_installed("storescu") {
        return;
    }
    let out_of_resources = 0xa700.to_string();
    let (_full, ports) = Program::script(&python, "moody_archive.py", &[out_of_resources.as_str()]);
    let scratch = tempfile::tempdir().unwrap();
    let series = patient(scratch.path());
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let house = House::new(broker.port, 1);
    let port = free_port();
    let target = format!(
        "spool_keep_h = 0\n[[dicom.target]]\nname = \"full\"\nhost = \"127.0.0.1\"\nport = {}\n\
         ae_title = \"MOODY\"\n",
        ports[0]
    );
    receiving(&house, port, &target);
    let daemon = house.start_under("HEPALERT_HASTE", "60");
    let mut heart = Heart::default();
    heart.listen(&subscriber, is_online);
    wait_until(|| TcpStream::connect(("127.0.0.1", port)).ok());
    assert!(store(port, "HEPALERT", &series).status.success());
    heart.listen(&subscriber, |topic, message| has_reason(topic, message, "dicom_target_busy"));
    let waiting = "full is tried again later: status 0xa700";
    assert!(house.log().contains(waiting), "{}", house.log());
    let doctor =
        hepalert().args(["doctor", "--quick", "--config"]).arg(house.config()).output().unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("waiting for it: ") && doctor.contains("look at its disk"), "{doctor}");
    // Its images are gone: nothing is left of an export that fails.
    let spool = house.state().join("dicom/spool");
    wait_until(|| spooled(&spool).is_empty().then_some(()));
    let key = heart.of("event/alert")[0]["subject"].as_str().unwrap().to_owned();
    let shared = scratch.path().join("shared");
    let before = files_of(scratch.path());
    let export = || {
        let mut export = hepalert();
        export.args(["export", &key, "--deidentify", "--out"]).arg(&shared);
        export.arg("--config").arg(house.config()).output().unwrap()
    };
    let refused = export();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("send the study again"));
    assert_eq!(files_of(scratch.path()), before);
    // Sent again, they are known by what is in them.
    assert!(store(port, "HEPALERT", &series).status.success());
    let done = export();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(files_of(&shared.join("images")).len(), files_of(&series).len());
    daemon.stop();
    // A later run need not try to know it.
    let log = house.log().len();
    let daemon = house.start();
    wait_until(|| house.log()[log..].contains("degraded: dicom_target_busy").then_some(()));
    daemon.stop();
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What a receiver in this process has taken.
pub(crate) fn spooled(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for batch in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.extend(fs::read_dir(batch.path()).unwrap().flatten().map(|entry| entry.path()));
    }
    found.sort();
    found
}

pub(crate) fn receiver(
    within: &Path,
    change: impl FnOnce(&mut hepalert::dicom::receiver::ReceiverParams),
) -> hepalert::dicom::Receiver {
    let mut params = hepalert::dicom::receiver::ReceiverParams {
        listen: "127.0.0.1:0".parse().unwrap(),
        ae_title: "HEPALERT".to_owned(),
        allow_ae: Vec::new(),
        allow_address: Vec::new(),
        max_associations: 20,
        max_instance_bytes: 8 << 20,
        patience: Duration::from_secs(2),
        tls: None,
        incoming: within.join("incoming"),
        spool: within.join("spool"),
        storage_commitment: true,
        commitments: within.join("commitments"),
        min_free_bytes: 0,
        peers: Vec::new(),
    };
    change(&mut params);
    hepalert::dicom::Receiver::start(params).unwrap()
}

pub(crate) fn left(within: &Path) -> usize {
    fs::read_dir(within.join("incoming")).unwrap().count()
}

#[test]
fn every_syntax_that_is_read_is_received_and_no_stranger_is_let_in() {
    if !is_installed("storescu") || !is_installed("echoscu") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let series = patient(dir.path());
    let receiver = receiver(dir.path(), |params| {
        params.allow_ae = vec!["SCANNER".to_owned()];
    });
    let port = receiver.address().port();
    let sent = store(port, "HEPALERT", &series);
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let files = fs::read_dir(&series).unwrap().count();
    let spool = dir.path().join("spool");
    assert_eq!((spooled(&spool).len(), left(dir.path())), (files, 0));
    // The pixels are those that were sent.
    let sum = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        hepalert_voxels::volume::dicom::read::read_slice(&bytes).unwrap()
    };
    let originals: Vec<_> =
        fs::read_dir(&series).unwrap().map(|e| sum(&e.unwrap().path())).collect();
    for path in spooled(&spool) {
        let slice = sum(&path);
        assert!(originals.iter().any(|one| one.header.sop_uid == slice.header.sop_uid));
    }
    assert!(!store(port, "SOMEBODY", &series).status.success(), "called by another title");
    let echo = |calling: &str| {
        let mut command = Command::new("echoscu");
        command.args(["-aet", calling, "-aec", "HEPALERT", "127.0.0.1", &port.to_string()]);
        command.output().unwrap().status.success()
    };
    assert!(echo("SCANNER") && !echo("STRANGER"));
    assert_eq!(spooled(&spool).len(), files);
}

pub(crate) mod attack {
    use super::*;
    use hepalert::dicom::dimse::{Command, DATA_SET, element, field};

    pub(crate) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
    pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";

    /// A peer that says what it likes.
    pub(crate) struct Peer(pub TcpStream);

    impl Peer {
        pub(crate) fn at(receiver: &hepalert::dicom::Receiver) -> Peer {
            let line = TcpStream::connect(receiver.address()).unwrap();
            line.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            Peer(line)
        }

        /// Asks for an association with these classes; the answer's type.
        pub(crate) fn associate(&mut self, classes: &[&str]) -> u8 {
            let all: Vec<_> = classes.iter().map(|class| (*class, EXPLICIT)).collect();
            self.associate_in(&all)
        }

        /// The same, each class in a transfer syntax.
        pub(crate) fn associate_in(&mut self, classes: &[(&str, &str)]) -> u8 {
            self.ask_for(classes);
            self.hear().map_or(0, |(kind, _)| kind)
        }

        /// The same, without waiting for the answer.
        pub(crate) fn ask_for(&mut self, classes: &[(&str, &str)]) {
            let item = |kind: u8, body: &[u8]| {
                let mut bytes = vec![kind, 0];
                bytes.extend((body.len() as u16).to_be_bytes());
                bytes.extend(body);
                bytes
            };
            let mut body = vec![0, 1, 0, 0];
            body.extend(b"HEPALERT        ");
            body.extend(b"SCANNER         ");
            body.extend([0; 32]);
            body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
            for (n, (class, syntax)) in classes.iter().enumerate() {
                let mut context = vec![2 * n as u8 + 1, 0, 0, 0];
                context.extend(item(0x30, class.as_bytes()));
                context.extend(item(0x40, syntax.as_bytes()));
                body.extend(item(0x20, &context));
            }
            body.extend(item(0x50, &item(0x51, &16384u32.to_be_bytes())));
            self.pdu(1, &body);
        }

        pub(crate) fn pdu(&mut self, kind: u8, body: &[u8]) {
            let mut bytes = vec![kind, 0];
            bytes.extend((body.len() as u32).to_be_bytes());
            bytes.extend(body);
            // The other side may have hung up already.
            let _ = self.0.write_all(&bytes);
        }

        pub(crate) fn value(&mut self, context: u8, head: u8, data: &[u8]) {
            let mut body = ((data.len() + 2) as u32).to_be_bytes().to_vec();
            body.extend([context, head]);
            body.extend(data);
            self.pdu(4, &body);
        }

        pub(crate) fn command(&mut self, context: u8, instance: &str) {
            let command = Command::default()
                .with_uid(element::AFFECTED_SOP_CLASS_UID, CT)
                .with(element::COMMAND_FIELD, field::C_STORE)
                .with(element::MESSAGE_ID, 1)
                .with(element::DATA_SET_TYPE, DATA_SET)
                .with_uid(element::AFFECTED_SOP_INSTANCE_UID, instance);
            self.value(context, 3, &command.bytes());
        }

        pub(crate) fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
            let mut head = [0; 6];
            self.0.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes(head[2..].try_into().unwrap()) as usize;
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).ok()?;
            Some((head[0], body))
        }

        /// The status of the answer to a C-STORE; none if the line was cut.
        pub(crate) fn status(&mut self) -> Option<u16> {
            let (kind, body) = self.hear()?;
            let command = (kind == 4).then(|| Command::read(&body[6..]))??;
            command.number(element::STATUS)
        }
    }
}

#[test]
fn whatever_a_peer_does_nothing_half_and_nothing_outside_is_left() {
    use attack::{CT, Peer};
    let dir = tempfile::tempdir().unwrap();
    let series = patient(dir.path());
    let file = fs::read_dir(&series).unwrap().next().unwrap().unwrap().path();
    let file = fs::read(file).unwrap();
    // Behind the meta group, whose length it tells itself.
    let meta = 144 + u32::from_le_bytes(file[140..144].try_into().unwrap()) as usize;
    let data = &file[meta..];
    let receiver = receiver(dir.path(), |params| params.max_instance_bytes = 4 << 20);
    let spool = dir.path().join("spool");
    let before = fs::read_dir(dir.path()).unwrap().count();
    let header = read_header(&file).unwrap();
    let instance = header.sop_uid.as_str();

    // Killed in the middle of an object.
    let mut peer = Peer::at(&receiver);
    assert_eq!(peer.associate(&[CT]), 2);
    peer.command(1, instance);
    peer.value(1, 0, &data[..5000]);
    drop(peer);
    // Half a file that claims to be whole.
    let mut peer = Peer::at(&receiver);
    peer.associate(&[CT]);
    peer.command(1, instance);
    peer.value(1, 2, &data[..data.len().min(100_000)]);
    assert_eq!(peer.status(), Some(0xc000));
    // A path for a UID, on the same association: refused, and the next one is taken.
    peer.command(1, "../../etc/x");
    peer.value(1, 2, &[0; 10]);
    assert_eq!(peer.status(), Some(0x0117));
    peer.command(1, instance);
    for part in data.chunks(100_000) {
        peer.value(1, 0, part);
    }
    peer.value(1, 2, &[]);
    assert_eq!(peer.status(), Some(0));
    // Another object than the command names.
    peer.command(1, "1.2.3.4");
    for part in data.chunks(100_000) {
        peer.value(1, 0, part);
    }
    peer.value(1, 2, &[]);
    assert_eq!(peer.status(), Some(0xc000));
    // Pixels that nobody can have sent, and a data set in another syntax than was agreed on.
    let mut huge = data.to_vec();
    for element in [0x10, 0x11] {
        let head = [0x28, 0, element, 0, b'U', b'S', 2, 0];
        let at = huge.windows(8).position(|part| part == head).unwrap() + 8;
        huge[at..at + 2].copy_from_slice(&[0xff, 0xff]);
    }
    // A study whose UID is none: our objects would carry it to the archive.
    let mut unnamed = data.to_vec();
    let head = [0x20, 0, 0x0d, 0, b'U', b'I'];
    let at = unnamed.windows(6).position(|part| part == head).unwrap() + 8;
    unnamed[at..at + 3].copy_from_slice(b"../");
    for (what, part, syntax) in [
        ("huge", &huge[..], attack::EXPLICIT),
        ("another syntax", data, "1.2.840.10008.1.2"),
        ("no UID", &unnamed[..], attack::EXPLICIT),
    ] {
        let mut other = Peer::at(&receiver);
        assert_eq!(other.associate_in(&[(CT, syntax)]), 2);
        other.command(1, instance);
        for part in part.chunks(100_000) {
            other.value(1, 0, part);
        }
        other.value(1, 2, &[]);
        assert_eq!(other.status(), Some(0xc000), "{what}");
    }
    // Larger than is taken: read to its end, refused, not kept.
    peer.command(1, instance);
    for _ in 0..50 {
        peer.value(1, 0, &[0; 100_000]);
    }
    peer.value(1, 2, &[]);
    assert_eq!(peer.status(), Some(0xa700));
    // A class that nobody asked for, a context that was not agreed on, a data set without a command.
    let mut peer = Peer::at(&receiver);
    assert_eq!(peer.associate(&["1.2.840.10008.5.1.4.1.1.4"]), 2);
    peer.command(1, instance);
    assert_eq!(peer.hear().map(|(kind, _)| kind), Some(7), "aborted");
    let mut peer = Peer::at(&receiver);
    peer.associate(&[CT]);
    peer.value(1, 2, data.get(..100).unwrap());
    assert_eq!(peer.hear().map(|(kind, _)| kind), Some(7), "aborted");
    // Lengths that lie, and no protocol at all.
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[1, 0, 0xff, 0xff, 0xff, 0xff], &[4, 0, 0, 0, 0, 2, 9, 9]]
    {
        let mut peer = Peer::at(&receiver);
        peer.0.write_all(bytes).unwrap();
        let _ = peer.hear();
    }
    let mut peer = Peer::at(&receiver);
    peer.associate(&[CT]);
    peer.pdu(4, &[0xff, 0xff, 0xff, 0xff, 1, 3]);
    let _ = peer.hear();
    // One that says nothing gives its place back.
    let mut silent = Peer::at(&receiver);
    assert!(silent.hear().is_none());

    wait_until(|| (left(dir.path()) == 0).then_some(()));
    assert_eq!(spooled(&spool).len(), 1, "the one that was acknowledged");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before, "nothing outside of the spool");
    assert!(receiver.is_alive());
}

#[test]
fn a_full_disk_is_told_as_such() {
    use attack::{CT, Peer};
    let dir = tempfile::tempdir().unwrap();
    let receiver = receiver(dir.path(), |params| params.min_free_bytes = u64::MAX);
    let mut peer = Peer::at(&receiver);
    assert_eq!(peer.associate(&[CT]), 2);
    peer.command(1, "1.2.3.4");
    peer.value(1, 2, &[0; 5000]);
    assert_eq!(peer.status(), Some(0xa700));
    assert_eq!((left(dir.path()), spooled(&dir.path().join("spool")).len()), (0, 0));
}

#[test]
fn what_lies_in_the_spool_is_committed_and_nothing_else() {
    if !is_installed("storescu") {
        return;
    }
    let Some(python) = crate::objects::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let series = patient(dir.path());
    let receiver = receiver(dir.path(), |_| {});
    let port = receiver.address().port();
    assert!(store(port, "HEPALERT", &series).status.success());
    let kept = fs::read(&spooled(&dir.path().join("spool"))[0]).unwrap();
    let here = hepalert_voxels::volume::dicom::read::read_header(&kept).unwrap().sop_uid;
    let mut asked = Command::new(python);
    asked.arg(crate::objects::script("commit.py")).args([&port.to_string(), &here, "1.2.3.4"]);
    let told = told(&mut asked);
    let wanted = serde_json::json!({
        "event": 2, "here": [here], "missing": [["1.2.3.4", 0x0112]], "is_ours": true,
    });
    assert_eq!(told, wanted);
}

#[test]
fn where_commitment_is_switched_off_nobody_can_ask_for_it() {
    use attack::{CT, Peer};
    const COMMITMENT: &str = "1.2.840.10008.1.20.1";
    let dir = tempfile::tempdir().unwrap();
    for (is_on, result) in [(true, 0), (false, 3)] {
        let receiver = receiver(dir.path(), |params| params.storage_commitment = is_on);
        let mut peer = Peer::at(&receiver);
        peer.ask_for(&[(CT, attack::EXPLICIT), (COMMITMENT, attack::EXPLICIT)]);
        let (kind, answer) = peer.hear().unwrap();
        assert_eq!(kind, 2, "let in all the same");
        // PS3.8 table 9-18: number, reserved, result.
        let contexts = answer.windows(8).filter(|item| item[..2] == [0x21, 0] && item[5] == 0);
        let results: Vec<u8> = contexts.map(|item| item[6]).collect();
        assert_eq!(results, [0, result]);
    }
}

/// A peer that asks for commitment, at a port of this machine.
fn scanner(port: u16) -> hepalert::dicom::Target {
    hepalert::dicom::Target {
        name: "ct1".to_owned(),
        way: hepalert::dicom::target::Way::Dimse(hepalert::dicom::target::Dimse {
            host: "127.0.0.1".to_owned(),
            port,
            called_ae: "SCANNER".to_owned(),
            calling_ae: "HEPALERT".to_owned(),
            tls: None,
        }),
        patience: Duration::from_secs(5),
    }
}

#[test]
fn who_hangs_up_after_asking_for_commitment_is_called_back() {
    let Some(python) = crate::objects::python() else { return };
    if !is_installed("storescu") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let series = patient(dir.path());
    let own = free_port();
    let receiver = receiver(dir.path(), |params| params.peers = vec![scanner(own)]);
    let port = receiver.address().port();
    assert!(store(port, "HEPALERT", &series).status.success());
    let kept = fs::read(&spooled(&dir.path().join("spool"))[0]).unwrap();
    let here = read_header(&kept).unwrap().sop_uid;
    let mut asked = Command::new(python);
    asked.arg(crate::objects::script("commit_and_leave.py"));
    let told = told(asked.args([&port.to_string(), &own.to_string(), &here, "1.2.3.4"]));
    let wanted = serde_json::json!({
        "event": 2, "here": [here], "missing": [["1.2.3.4", 0x0112]], "is_ours": true,
        "by": ["HEPALERT", "HEPALERT"],
    });
    assert_eq!(told, wanted);
    let owed = dir.path().join("commitments");
    wait_until(|| files_of(&owed).is_empty().then_some(()));
}

#[test]
fn who_was_promised_a_report_on_commitment_has_it_after_a_restart() {
    let Some(python) = crate::objects::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let owed = dir.path().join("commitments");
    let own = free_port();
    let before = receiver(dir.path(), |params| params.peers = vec![scanner(own)]);
    let port = before.address().port().to_string();
    let run = |args: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(crate::objects::script("commit_in_two_runs.py")).args(args);
        command
    };
    let asked = told(&mut run(&["ask", &port, "1.2.3.4"]));
    // The first call back finds nobody.
    let tried = |path: &PathBuf| path.extension().is_some_and(|tries| tries == "1");
    wait_until(|| files_of(&owed).iter().any(tried).then_some(()));
    drop(before);
    let hearing = run(&["hear", &own.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    wait_until(|| TcpStream::connect(("127.0.0.1", own)).ok());
    let _after = receiver(dir.path(), |params| params.peers = vec![scanner(own)]);
    let heard = hearing.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&heard.stdout).unwrap();
    assert_eq!(told["transaction"], asked["transaction"]);
    assert_eq!(told["missing"], serde_json::json!([["1.2.3.4", 0x0112]]));
    wait_until(|| files_of(&owed).is_empty().then_some(()));
}

/// `ca.pem`, and `{server,client}.{pem,key}` that it signed for this machine, by openssl.
pub(crate) fn certificates(within: &Path) {
    let openssl = |args: &[&str]| {
        said(Command::new("openssl").args(args).current_dir(within));
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=authority",
    ]);
    for who in ["server", "client"] {
        let (key, csr, pem) = (format!("{who}.key"), format!("{who}.csr"), format!("{who}.pem"));
        openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &csr,
            "-subj",
            "/CN=localhost",
        ]);
        fs::write(within.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
        openssl(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            &pem,
            "-days",
            "2",
            "-extfile",
            "names",
        ]);
    }
}

#[test]
fn with_tls_only_who_has_a_certificate_of_the_authority_may_send() {
    if ["storescu", "openssl"].iter().any(|program| !is_installed(program)) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    certificates(dir.path());
    let series = patient(dir.path());
    let one = fs::read_dir(&series).unwrap().next().unwrap().unwrap().path();
    let receiver = receiver(dir.path(), |params| {
        params.tls = Some(hepalert::dicom::tls::ServerTls {
            cert_file: at("server.pem"),
            key_file: at("server.key"),
            ca_file: Some(at("ca.pem")),
        });
    });
    let port = receiver.address().port().to_string();
    let send = |args: &[&str]| {
        let mut command = Command::new("storescu");
        command.args(["-aec", "HEPALERT"]).args(args).args(["localhost", &port]).arg(&one);
        command.current_dir(dir.path()).output().unwrap().status.success()
    };
    let spool = at("spool");
    assert!(!send(&[]), "in plain text");
    assert!(!send(&["+tla", "+cf", "ca.pem"]), "without a certificate");
    assert_eq!(spooled(&spool).len(), 0);
    assert!(send(&["+tls", "client.key", "client.pem", "+cf", "ca.pem"]));
    assert_eq!(spooled(&spool).len(), 1);
}

#[test]
fn two_hundred_at_once_lose_nothing_that_was_acknowledged() {
    use attack::{CT, Peer};
    let dir = tempfile::tempdir().unwrap();
    let series = patient(dir.path());
    let file = fs::read(fs::read_dir(&series).unwrap().next().unwrap().unwrap().path()).unwrap();
    let meta = 144 + u32::from_le_bytes(file[140..144].try_into().unwrap()) as usize;
    let named = read_header(&file).unwrap().sop_uid;
    let data = file[meta..].to_vec();
    let receiver = receiver(dir.path(), |params| {
        params.max_associations = 20;
        params.patience = Duration::from_secs(30);
    });
    let address = receiver.address();
    let peers: Vec<_> = (0..200)
        .map(|n| {
            // An object of its own: the same slice under another UID of equal length.
            let own = format!("{}{}", &named[..named.len() - 3], 100 + n);
            let at = data.windows(named.len()).position(|part| part == named.as_bytes()).unwrap();
            let mut data = data.to_vec();
            data[at..at + own.len()].copy_from_slice(own.as_bytes());
            std::thread::spawn(move || {
                // Turned away, it comes again, as a scanner does.
                for _ in 0..600 {
                    let Ok(line) = TcpStream::connect(address) else { continue };
                    line.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                    let mut peer = Peer(line);
                    if peer.associate(&[CT]) != 2 {
                        std::thread::sleep(Duration::from_millis(50));
                        continue;
                    }
                    peer.command(1, &own);
                    for part in data.chunks(100_000) {
                        peer.value(1, 0, part);
                    }
                    peer.value(1, 2, &[]);
                    if peer.status() == Some(0) {
                        return true;
                    }
                }
                false
            })
        })
        .collect();
    let acknowledged = peers.into_iter().map(|peer| peer.join().unwrap()).filter(|ok| *ok);
    let acknowledged = acknowledged.count();
    assert_eq!(acknowledged, 200);
    assert_eq!(spooled(&dir.path().join("spool")).len(), 200);
    assert_eq!(left(dir.path()), 0);
}
