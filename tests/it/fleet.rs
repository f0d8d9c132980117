//! Twenty daemons behind a hospital's broker, a bridge to a core broker, and what the core knows of them
//! when the line goes, the hospital's broker is killed and a device dies unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hepalert_voxels::volume::{Grid, Volume, nifti};
use ndarray::Array3;
use serde_json::{Value, json};

use crate::broker::{Broker, Kind, Subscriber};
use crate::daemon::{Daemon, House};
use crate::support::{hepalert, small_engine};

const DEVICES: usize = 20;
/// The one that dies unseen.
const UNSEEN: &str = "ct-07";
/// The one with another engine.
const OTHER: &str = "ct-13";
const PATIENCE: Duration = Duration::from_secs(90);

/// A line between two brokers that can be cut.
struct Line {
    port: u16,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Line {
    fn to(target: u16) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let line = Line { port, cut: Arc::default(), open: Arc::default() };
        let (cut, open) = (Arc::clone(&line.cut), Arc::clone(&line.open));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let both = [near.try_clone().unwrap(), far.try_clone().unwrap()];
                open.lock().unwrap().extend(both);
                let [there, back] = [near.try_clone().unwrap(), far.try_clone().unwrap()];
                std::thread::spawn(move || pass(near, far));
                std::thread::spawn(move || pass(back, there));
            }
        });
        line
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

/// Bytes from one to the other until one of them ends.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut copy = || -> io::Result<()> {
        let mut block = [0; 8192];
        loop {
            match from.read(&mut block)? {
                0 => return Ok(()),
                n => to.write_all(&block[..n])?,
            }
        }
    };
    let _ = copy();
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

fn bridge(port: u16) -> String {
    let below =
        |topic: &str, way: &str| format!("topic +/{topic} {way} 1 hepalert/v1/ hepalert/v1/\n");
    let out = ["availability", "status", "info", "health", "worklist", "event/#", "reply/#"];
    let out: String = out.iter().map(|topic| below(topic, "out")).collect();
    format!(
        "connection core\naddress 127.0.0.1:{port}\nremote_clientid hospital\nlocal_clientid hospital\n\
         cleansession false\nrestart_timeout 1 1\nkeepalive_interval 5\n{out}{}",
        below("cmd/#", "in")
    )
}

/// A device whose inference process has nothing to compute.
fn device(name: &str, port: u16, engine: &Path) -> House {
    let house = House::with_bundle(port, 1, engine, "");
    let text = fs::read_to_string(house.config()).unwrap();
    let text = text.replace("name = \"test\"", &format!("name = \"{name}\""));
    fs::write(house.config(), text + "health_s = 2\ncommands = true\n").unwrap();
    house
}

/// A study of four slices, which is refused as too short before a network runs.
fn hand_in(house: &House, number: i16) {
    let mut voxels = Array3::<i16>::from_elem((4, 40, 40), 60);
    voxels[[0, 0, 0]] = number;
    let grid = Grid::axial([4, 40, 40], [5.0, 3.0, 3.0], [0.0; 3]);
    let folder = house.export().join(format!("s{number}"));
    fs::create_dir(&folder).unwrap();
    let bytes = nifti::write::write_i16(&Volume::new(grid.into(), voxels));
    fs::write(folder.join("ct.nii.gz.part"), bytes).unwrap();
    fs::rename(folder.join("ct.nii.gz.part"), folder.join("ct.nii.gz")).unwrap();
}

/// The fleet as the command tells it.
fn fleet(port: u16) -> Value {
    let words = ["--json", "fleet", "--host", "127.0.0.1", "--seconds", "1", "--port"];
    let told = hepalert().args(words).arg(port.to_string()).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).unwrap()
}

fn of<'a>(fleet: &'a Value, name: &str) -> &'a Value {
    fleet["devices"].as_array().unwrap().iter().find(|one| one["device"] == name).unwrap()
}

fn count(fleet: &Value, field: &str, value: &str) -> usize {
    fleet["devices"].as_array().unwrap().iter().filter(|one| one[field] == value).count()
}

/// What the core hears: events by device and number.
struct Core {
    subscriber: Subscriber,
    events: BTreeMap<String, BTreeMap<u64, Value>>,
    ids: BTreeSet<String>,
    repeated: usize,
    /// Ranges that were asked for again.
    asked: usize,
}

impl Core {
    /// What comes within a span; twenty devices are never silent for long.
    fn hear(&mut self, span: Duration) {
        let until = Instant::now() + span;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(heard) = self.subscriber.next(left) else { return };
            let event = heard.json();
            let device = heard.topic.split('/').nth(2).unwrap().to_owned();
            if self.ids.insert(event["id"].as_str().unwrap().to_owned()) {
                let seq = event["seq"].as_u64().unwrap();
                let before = self.events.entry(device).or_default().insert(seq, event);
                assert!(before.is_none(), "two events of one number");
            } else {
                self.repeated += 1;
            }
        }
    }

    fn rejected(&self, device: &str) -> usize {
        let events = self.events.get(device).into_iter().flat_map(BTreeMap::values);
        events.filter(|event| event["data"]["state"] == "rejected").count()
    }

    /// Numbers of a device that were never heard, below the highest.
    fn gaps(&self, device: &str) -> Vec<u64> {
        let Some(known) = self.events.get(device) else { return Vec::new() };
        let last = *known.keys().last().unwrap();
        (1..=last).filter(|seq| !known.contains_key(seq)).collect()
    }

    /// Until every one of these devices has told of so many refused studies without a gap. What is
    /// missing for long is asked for again, as docs/dashboards.md says.
    fn until(&mut self, devices: &[String], studies: usize) {
        let began = Instant::now();
        let mut asked = Instant::now();
        loop {
            self.hear(Duration::from_millis(300));
            let lacks =
                |name: &&String| self.rejected(name) < studies || !self.gaps(name).is_empty();
            let lacking: Vec<String> = devices.iter().filter(lacks).cloned().collect();
            if lacking.is_empty() {
                return;
            }
            let gaps: Vec<_> = lacking.iter().map(|name| (name, self.gaps(name))).collect();
            assert!(began.elapsed() < PATIENCE, "still missing: {gaps:?}");
            if asked.elapsed() > Duration::from_secs(8) {
                asked = Instant::now();
                for name in &lacking {
                    self.ask_again(name);
                }
            }
        }
    }

    fn ask_again(&mut self, device: &str) {
        let last =
            self.events.get(device).and_then(|known| known.keys().last().copied()).unwrap_or(1);
        let root = format!("hepalert/v1/{device}");
        let reply = format!("{root}/reply/core");
        let body = json!({"from_seq": 1, "to_seq": last + 20, "reply_to": reply}).to_string();
        self.subscriber.ask(&format!("{root}/cmd/replay"), &body, &reply, false);
        self.asked += 1;
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
    }
}

#[test]
fn twenty_devices_behind_a_bridge_lose_nothing_and_a_dead_one_is_seen_by_its_own_health() {
    let keeps = Kind { persistent: true, ..Kind::default() };
    let Some(core) = Broker::start(&keeps) else { return };
    let line = Line::to(core.port);
    let lines: &'static str = bridge(line.port).leak();
    let mut edge = Broker::start(&Kind { more: lines, ..keeps }).unwrap();
    let subscriber = Subscriber::join(&core, "core", "hepalert/v1/+/event/#");
    let (events, ids) = (BTreeMap::new(), BTreeSet::new());
    let mut heard = Core { subscriber, events, ids, repeated: 0, asked: 0 };
    let scratch = tempfile::tempdir().unwrap();
    let other_engine = newer(&small_engine(), scratch.path());
    let names: Vec<String> = (1..=DEVICES).map(|n| format!("ct-{n:02}")).collect();
    let houses: Vec<House> = names
        .iter()
        .map(|name| {
            let engine = if name == OTHER { other_engine.clone() } else { small_engine() };
            device(name, edge.port, &engine)
        })
        .collect();
    let mut daemons: BTreeMap<&str, Daemon> =
        names.iter().zip(&houses).map(|(name, house)| (name.as_str(), house.start())).collect();

    let mut seen = Value::Null;
    wait("all devices are well at the core", || {
        heard.hear(Duration::from_millis(1));
        seen = fleet(core.port);
        let tested =
            seen["devices"].as_array().unwrap().iter().filter(|one| one["self_test"] == true);
        let tested = tested.count();
        [count(&seen, "life", "alive"), count(&seen, "state", "online"), tested] == [DEVICES; 3]
    });
    assert_eq!(of(&seen, OTHER)["differs"], json!(["engine"]), "{}", of(&seen, OTHER));
    let mut others = names.iter().filter(|name| *name != OTHER);
    assert!(others.all(|name| of(&seen, name)["differs"] == json!([])), "{seen}");
    assert_eq!(of(&seen, "ct-01")["engines"], json!(["linear 1"]));

    // The line between the brokers goes while every device has something to tell.
    line.cut();
    houses.iter().for_each(|house| hand_in(house, 1));
    std::thread::sleep(Duration::from_secs(6));
    let silent = fleet(core.port);
    assert_eq!(count(&silent, "life", "silent"), DEVICES, "nothing of them reaches the core");
    assert_eq!(
        count(&silent, "availability", "online"),
        DEVICES,
        "and its broker does not know it"
    );
    line.mend();
    heard.until(&names, 1);

    // The hospital's broker is killed, and a device dies before anybody could publish its will.
    edge.kill();
    daemons.remove(UNSEEN).unwrap().kill();
    let living: Vec<String> = names.iter().filter(|name| *name != UNSEEN).cloned().collect();
    for (name, house) in names.iter().zip(&houses) {
        if name != UNSEEN {
            hand_in(house, 2);
        }
    }
    std::thread::sleep(Duration::from_secs(3));
    edge.restart();
    heard.until(&living, 2);
    wait("the dead one is seen, and only that", || {
        seen = fleet(core.port);
        count(&seen, "life", "alive") == DEVICES - 1
    });
    let dead = of(&seen, UNSEEN);
    assert_eq!(
        (&dead["life"], &dead["availability"]),
        (&"silent".into(), &"online".into()),
        "{dead}"
    );
    let strict = ["fleet", "--host", "127.0.0.1", "--seconds", "1", "--strict", "--port"];
    let told = hepalert().args(strict).arg(core.port.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&told.stdout);
    assert_eq!(told.status.code(), Some(1), "{said}");
    assert!(said.contains("the broker still says online"), "{said}");
    println!("{said}\nrepeated {}, asked again {}", heard.repeated, heard.asked);
    for (name, daemon) in daemons {
        assert!(heard.gaps(name).is_empty());
        daemon.kill();
    }
}

/// The same engine as another version.
fn newer(engine: &Path, folder: &Path) -> PathBuf {
    let newer = folder.join("newer");
    fs::create_dir(&newer).unwrap();
    for entry in fs::read_dir(engine).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, newer.join(path.file_name().unwrap())).unwrap();
    }
    let manifest = fs::read_to_string(newer.join("manifest.json")).unwrap();
    let changed = manifest.replace("\"version\": 1,", "\"version\": 2,");
    assert_ne!(manifest, changed);
    fs::write(newer.join("manifest.json"), changed).unwrap();
    newer
}
