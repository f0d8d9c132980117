//! Peers that nobody here wrote, one by one: images in every transfer syntax, archives over TLS, archives that
//! refuse, the speed of dcmtk. Left out with a print where programs are missing, a failure under `CI=true`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::broker::free_port;
use crate::daemon::wait_until;
use crate::objects::{is_installed, patient, python, script};
use crate::pacs::attack::{CT, EXPLICIT, Peer};
use crate::pacs::{certificates, receiver, spooled, store};
use crate::support::{hepalert, shared_data};
use hepalert::dicom::sender;
use hepalert::dicom::services::RECEIVED_SYNTAXES;
use hepalert::dicom::target::{
    DeliveryOutcome, Dimse, Outgoing, SendError, Status, Target, Way, Web,
};
use hepalert::dicom::tls::ClientTls;
use hepalert_voxels::volume::dicom::content;
use hepalert_voxels::volume::dicom::read::read_header;

/// A program of a test; killed when that ends.
pub(crate) struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Program {
        Program(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// A script, and the line of ports that it prints once it listens.
    pub(crate) fn script(python: &Path, name: &str, args: &[&str]) -> (Program, Vec<u16>) {
        let mut command = Command::new(python);
        command.arg(script(name)).args(args).stdout(Stdio::piped());
        let mut program = Program::start(&mut command);
        let mut line = String::new();
        BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (program, line.split_whitespace().map(|port| port.parse().unwrap()).collect())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn images(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    found.sort();
    found
}

/// What a file says and shows, whatever it is written in.
fn shown(file: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    content::decoded(file, &mut |part| all.extend(part)).unwrap();
    all
}

/// Transfer syntax and data set of a file with a meta group.
fn apart(file: &[u8]) -> (String, &[u8]) {
    let meta = 144 + u32::from_le_bytes(file[140..144].try_into().unwrap()) as usize;
    let at = file[..meta].windows(4).position(|tag| tag == [2, 0, 0x10, 0]).unwrap();
    let length = usize::from(u16::from_le_bytes([file[at + 6], file[at + 7]]));
    let syntax = String::from_utf8(file[at + 8..at + 8 + length].to_vec()).unwrap();
    (syntax.trim_end_matches('\0').to_owned(), &file[meta..])
}

/// The slice as an encapsulated one that is not compressed: PS3.5 section A.4.11.
fn encapsulated(explicit: &[u8]) -> Vec<u8> {
    let (_, data) = apart(explicit);
    let at = data.windows(4).rposition(|tag| tag == [0xe0, 0x7f, 0x10, 0]).unwrap();
    let pixels = &data[at + 12..];
    let mut whole = data[..at].to_vec();
    whole.extend([0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff]);
    whole.extend([0xfe, 0xff, 0, 0xe0, 0, 0, 0, 0, 0xfe, 0xff, 0, 0xe0]);
    whole.extend((pixels.len() as u32).to_le_bytes());
    whole.extend(pixels);
    whole.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    whole
}

/// The status of a C-STORE of a data set in a syntax; none if that was not agreed on.
fn sent(receiver: &hepalert::dicom::Receiver, uid: &str, syntax: &str, data: &[u8]) -> Option<u16> {
    let mut peer = Peer::at(receiver);
    assert_eq!(peer.associate_in(&[(CT, syntax)]), 2, "let in");
    peer.command(1, uid);
    for part in data.chunks(16_000) {
        peer.value(1, 0, part);
    }
    peer.value(1, 2, &[]);
    peer.status()
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn every_transfer_syntax_is_received_as_it_is_and_shows_what_was_sent() {
    const ENCAPSULATED: &str = "1.2.840.10008.1.2.1.98";
    let Some(data) = shared_data() else { return };
    let dir = tempfile::tempdir().unwrap();
    let receiver = receiver(dir.path(), |_| {});
    let folder = data.join("dicom-syntaxes");
    let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("CTImage");
    let mut slices: Vec<(String, String, Vec<u8>)> = Vec::new();
    let mut truth = Vec::new();
    for path in images(&folder).into_iter().filter(named) {
        let file = fs::read(path).unwrap();
        let (syntax, data) = apart(&file);
        let uid = read_header(&file).unwrap().sop_uid;
        if syntax == EXPLICIT {
            truth = shown(&file);
            slices.push((ENCAPSULATED.to_owned(), uid.clone(), encapsulated(&file)));
        }
        slices.push((syntax, uid, data.to_vec()));
    }
    let (mut taken, mut alike) = (Vec::new(), 0);
    for (syntax, uid, data) in &slices {
        let before = spooled(&dir.path().join("spool"));
        let status = sent(&receiver, uid, syntax, data);
        let is_read = RECEIVED_SYNTAXES.contains(&syntax.as_str());
        assert_eq!(status, is_read.then_some(0), "{syntax}");
        if !is_read {
            continue;
        }
        let after = spooled(&dir.path().join("spool"));
        let new = after.iter().find(|path| !before.contains(path)).unwrap();
        let kept = fs::read(new).unwrap();
        assert_eq!(apart(&kept), (syntax.clone(), data.as_slice()), "byte for byte");
        let is_alike = shown(&kept) == truth;
        println!("{syntax}: {}", if is_alike { "the same" } else { "another" });
        alike += usize::from(is_alike);
        taken.push(syntax.as_str());
    }
    // The same study in any of these is one study; what lost something on the way is another.
    println!("{alike} of {} show the same", taken.len());
    assert_eq!(alike, 11);
    let untried: Vec<&str> =
        RECEIVED_SYNTAXES.into_iter().filter(|syntax| !taken.contains(syntax)).collect();
    let no_sample =
        ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"];
    assert_eq!(untried, no_sample);
}

fn target(way: Way) -> Target {
    Target { name: "pacs".to_owned(), way, patience: Duration::from_secs(10) }
}

fn dimse(port: u16, called: &str, tls: Option<ClientTls>) -> Target {
    target(Way::Dimse(Dimse {
        host: "localhost".to_owned(),
        port,
        called_ae: called.to_owned(),
        calling_ae: "HEPALERT".to_owned(),
        tls,
    }))
}

/// Everything that sending needs: an object, certificates by an authority and by another.
struct Fixture {
    dir: tempfile::TempDir,
    object: Vec<u8>,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let object = fs::read(&images(&patient(dir.path()))[0]).unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        certificates(dir.path());
        certificates(&dir.path().join("other"));
        fs::create_dir(dir.path().join("kept")).unwrap();
        Fixture { dir, object }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tls(&self, authority: &str, with_client: bool) -> ClientTls {
        let client = with_client.then(|| (self.at("client.pem"), self.at("client.key")));
        ClientTls { ca_file: self.at(authority), client }
    }

    fn send(&self, target: &Target) -> Result<DeliveryOutcome, SendError> {
        sender::send(target, Outgoing { bytes: &self.object })
    }

    fn kept(&self) -> Vec<PathBuf> {
        images(&self.at("kept"))
    }
}

#[test]
fn an_archive_is_sent_to_over_tls_if_both_sides_are_known() {
    if ["storescp", "openssl"].iter().any(|program| !is_installed(program)) {
        return;
    }
    let fixture = Fixture::new();
    let port = free_port();
    let mut archive = Command::new("storescp");
    archive.args([
        "+tls",
        "server.key",
        "server.pem",
        "+cf",
        "ca.pem",
        "-od",
        "kept",
        "-aet",
        "PACS",
    ]);
    let _archive = Program::start(archive.arg(port.to_string()).current_dir(fixture.dir.path()));
    wait_until(|| TcpStream::connect(("127.0.0.1", port)).ok());
    let plain = fixture.send(&dimse(port, "PACS", None));
    assert!(matches!(plain, Err(SendError::Unreachable(..))), "in plain text: {plain:?}");
    let anybody = fixture.send(&dimse(port, "PACS", Some(fixture.tls("ca.pem", false))));
    assert!(anybody.is_err(), "without a certificate: {anybody:?}");
    let stranger = fixture.send(&dimse(port, "PACS", Some(fixture.tls("other/ca.pem", true))));
    assert!(stranger.is_err(), "of an authority that is not ours: {stranger:?}");
    assert!(fixture.kept().is_empty());
    let known = dimse(port, "PACS", Some(fixture.tls("ca.pem", true)));
    assert_eq!(fixture.send(&known).unwrap(), DeliveryOutcome::Stored);
    assert!(sender::echo(&known).is_ok());
    let kept = fs::read(&fixture.kept()[0]).unwrap();
    assert_eq!(shown(&kept), shown(&fixture.object));
}

#[test]
fn what_an_archive_on_the_web_answers_is_understood_over_https() {
    let Some(python) = python() else { return };
    if !is_installed("openssl") {
        return;
    }
    let fixture = Fixture::new();
    let files = ["server.pem", "server.key", "kept"].map(|name| fixture.at(name));
    let args = files.each_ref().map(|path| path.to_str().unwrap());
    let (_archive, ports) = Program::script(&python, "archive_on_the_web.py", &args);
    fs::write(fixture.at("token"), "letmein\n").unwrap();
    fs::write(fixture.at("old-token"), "expired\n").unwrap();
    let web = |path: &str, token: &str, authority: &str| {
        target(Way::Web(Web {
            url: format!("https://localhost:{}/{path}", ports[0]),
            token_file: Some(fixture.at(token)),
            tls: Some(fixture.tls(authority, false)),
        }))
    };
    let good = web("dicom-web", "token", "ca.pem");
    assert_eq!(fixture.send(&good).unwrap(), DeliveryOutcome::Stored);
    assert!(sender::echo(&good).is_ok());
    let kept = fs::read(&fixture.kept()[0]).unwrap();
    assert_eq!(kept, fixture.object, "the file itself");
    let answered = |path: &str, token: &str| fixture.send(&web(path, token, "ca.pem")).unwrap();
    assert_eq!(answered("refuse", "token"), DeliveryOutcome::Refused(Status::Dimse(0xc000)));
    assert_eq!(answered("there", "token"), DeliveryOutcome::Stored);
    assert_eq!(answered("busy", "token"), DeliveryOutcome::Busy(Status::Http(503)));
    // It is there and lets nobody in with that: told as such, and tried again.
    let expired = fixture.send(&web("dicom-web", "old-token", "ca.pem"));
    assert!(matches!(expired, Err(SendError::NoToken(..))), "{expired:?}");
    let stranger = fixture.send(&web("dicom-web", "token", "other/ca.pem"));
    assert!(matches!(stranger, Err(SendError::Unreachable(..))), "{stranger:?}");
    let lost = fixture.send(&web("dicom-web", "no-token", "ca.pem"));
    assert!(matches!(lost, Err(SendError::Local(_))), "{lost:?}");
    assert_eq!(fixture.kept().len(), 1);
}

#[test]
fn an_archive_that_refuses_is_told_from_one_that_is_busy_and_from_one_that_lets_nobody_in() {
    let Some(python) = python() else { return };
    if ["storescp", "openssl"].iter().any(|program| !is_installed(program)) {
        return;
    }
    let fixture = Fixture::new();
    let answers = [0, 0xc000, 0x0110, 0xa700, 0xb007, 0x0111u16];
    let args = answers.map(|status| status.to_string());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (_archive, ports) = Program::script(&python, "moody_archive.py", &args);
    let wanted = [
        DeliveryOutcome::Stored,
        DeliveryOutcome::Refused(Status::Dimse(0xc000)),
        DeliveryOutcome::Refused(Status::Dimse(0x0110)),
        DeliveryOutcome::Busy(Status::Dimse(0xa700)),
        DeliveryOutcome::Stored,
        DeliveryOutcome::Stored,
    ];
    for (port, wanted) in ports.iter().zip(wanted) {
        assert_eq!(fixture.send(&dimse(*port, "MOODY", None)).unwrap(), wanted);
    }
    // A class that it does not know.
    let mut report = fixture.object.clone();
    for at in (0..report.len() - CT.len())
        .filter(|at| report[*at..].starts_with(CT.as_bytes()))
        .collect::<Vec<_>>()
    {
        report[at + CT.len() - 1] = b'4';
    }
    let unknown =
        sender::send(&dimse(ports[0], "MOODY", None), Outgoing { bytes: &report }).unwrap();
    assert_eq!(unknown, DeliveryOutcome::Refused(Status::Dimse(0x0122)));
    let port = free_port();
    let mut closed = Command::new("storescp");
    let _closed = Program::start(closed.args(["--refuse", &port.to_string()]));
    wait_until(|| TcpStream::connect(("127.0.0.1", port)).ok());
    let turned_away = dimse(port, "PACS", None);
    assert!(matches!(fixture.send(&turned_away), Err(SendError::NotLetIn(..))));
    assert!(matches!(sender::echo(&turned_away), Err(SendError::NotLetIn(..))));
}

/// 4 series of 60 slices of one patient, each an instance of its own.
fn whole_study(within: &Path) -> PathBuf {
    let one = fs::read(&images(&patient(within))[0]).unwrap();
    let named = read_header(&one).unwrap().sop_uid;
    let at = one.windows(named.len()).enumerate().filter(|(_, part)| *part == named.as_bytes());
    let places: Vec<usize> = at.map(|(at, _)| at).collect();
    let study = within.join("study");
    fs::create_dir(&study).unwrap();
    for n in 0..240 {
        let own = format!("{}{}", &named[..named.len() - 3], 100 + n);
        let mut file = one.clone();
        for at in &places {
            file[*at..at + own.len()].copy_from_slice(own.as_bytes());
        }
        fs::write(study.join(format!("{n}.dcm")), file).unwrap();
    }
    study
}

/// How long the receiver and dcmtk's take for a study, both with their folders here: by turns, the better
/// of two each.
fn received_in(folder: &Path, study: &Path) -> [Duration; 2] {
    let dir = tempfile::tempdir_in(folder).unwrap();
    let receiver = receiver(dir.path(), |_| {});
    let port = free_port();
    fs::create_dir(dir.path().join("theirs")).unwrap();
    let mut other = Command::new("storescp");
    // Without this it waits 40 ms for each object.
    other.env("TCP_NODELAY", "1").args(["+uf", "-od", "theirs", "-aet", "OTHER"]);
    let _other = Program::start(other.arg(port.to_string()).current_dir(dir.path()));
    wait_until(|| TcpStream::connect(("127.0.0.1", port)).ok());
    let took = |port: u16, called: &str| {
        let began = Instant::now();
        let sent = store(port, called, study);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        began.elapsed()
    };
    let rounds = [0; 2].map(|_| [took(receiver.address().port(), "HEPALERT"), took(port, "OTHER")]);
    assert_eq!(spooled(&dir.path().join("spool")).len(), 2 * 240);
    [0, 1].map(|who| rounds[0][who].min(rounds[1][who]))
}

#[test]
#[ignore = "run alone by scripts/test: beside other tests it measures those"]
fn a_study_is_received_at_no_less_than_half_the_speed_of_storescp() {
    if ["storescu", "storescp"].iter().any(|program| !is_installed(program)) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let study = whole_study(dir.path());
    let bytes: u64 = images(&study).iter().map(|path| path.metadata().unwrap().len()).sum();
    let told = |where_: &str, [ours, theirs]: [Duration; 2]| {
        let mib = bytes as f64 / f64::from(1 << 20);
        println!("240 objects, {mib:.0} MiB, {where_}: hepalert {ours:.2?}, storescp {theirs:.2?}");
    };
    // Here the disk is measured: each object is on it before it is acknowledged, and storescp waits for
    // nothing.
    told("on the disk", received_in(dir.path(), &study));
    let memory = Path::new("/dev/shm");
    let memory = if memory.is_dir() { memory } else { dir.path() };
    let [ours, theirs] = received_in(memory, &study);
    told("in memory", [ours, theirs]);
    assert!(ours <= theirs * 2, "{ours:?} against {theirs:?}");
}

#[test]
fn files_for_dicom_that_cannot_be_used_are_told_before_the_daemon_needs_them() {
    use std::os::unix::fs::PermissionsExt;
    if !is_installed("openssl") {
        return;
    }
    let fixture = Fixture::new();
    let config = fixture.at("hepalert.toml");
    let (folder, key) = (fixture.dir.path().display(), fixture.at("server.key"));
    let text = format!(
        "[store]\nfolder = \"{folder}\"\n[intake]\nfolder = \"\"\n[dicom]\nlisten = \"127.0.0.1:11112\"\n\
         server_cert_file = \"{folder}/server.pem\"\nserver_key_file = \"{folder}/server.key\"\n\
         [[dicom.target]]\nname = \"web\"\nurl = \"https://localhost/dicom-web\"\n\
         ca_file = \"{folder}/ca.pem\"\ntoken_file = \"{folder}/token\"\n"
    );
    fs::write(&config, text).unwrap();
    let told = || {
        let ended = hepalert().args(["check-config", "--config"]).arg(&config).output().unwrap();
        let said = String::from_utf8(ended.stdout).unwrap();
        said.lines().find(|line| line.contains("files for DICOM")).unwrap().to_owned()
    };
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&key, 0o600);
    let line = told();
    assert!(
        line.starts_with("FAILS") && line.contains("web: ") && line.contains("token"),
        "{line}"
    );
    fs::write(fixture.at("token"), "letmein\n").unwrap();
    mode(&fixture.at("token"), 0o640);
    assert!(told().starts_with("works"), "{}", told());
    mode(&key, 0o644);
    let line = told();
    assert!(
        line.starts_with("FAILS") && line.contains("server.key: everybody may read it"),
        "{line}"
    );
    mode(&key, 0o600);
    fs::write(fixture.at("ca.pem"), "no certificate").unwrap();
    let line = told();
    assert!(line.starts_with("FAILS") && line.contains("ca.pem"), "{line}");
}
