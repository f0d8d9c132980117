//! The soak: three days of a busy scanner in about twenty minutes. Studies come hour after hour; after
//! each, everything that the device keeps is made an hour older, and the daemon's own hour passes
//! sooner. At the end memory, database and folders are what they were, and every message is one
//! that was to come.
//!
//! `just soak` runs it; it is no part of the usual test run.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

use hepalert::store::Store;
use hepalert_voxels::volume::{Grid, Volume, nifti};
use jiff::Timestamp;
use ndarray::Array3;
use rusqlite::Connection;
use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber};
use crate::campaign::study;
use crate::daemon::{Daemon, House};
use crate::support::{memory_kib, small_engine};

const HOUR: Duration = Duration::from_secs(3600);
/// What the device keeps, and for how long the exporting side keeps its files.
const KEEP_HOURS: usize = 24;
/// Longest wait for the outcomes of one hour.
const PATIENCE: Duration = Duration::from_secs(120);
/// So much may memory drift from the second day to the last.
const FLAT: f64 = 0.02;

/// What one hour left behind.
#[derive(Debug, Clone, Copy)]
struct Weight {
    daemon_kib: u64,
    worker_kib: u64,
    database: u64,
    log: u64,
    results: usize,
    rows: i64,
}

struct Soak {
    /// Dropped last: it ends with the value.
    _broker: Broker,
    subscriber: Subscriber,
    house: House,
    daemon: Daemon,
    /// By topic, or by state for the steps of a study.
    heard: BTreeMap<String, usize>,
    seqs: Vec<u64>,
    health: Value,
    fed: usize,
}

impl Soak {
    fn start() -> Option<Soak> {
        let broker = Broker::start(&Kind::default())?;
        let subscriber = Subscriber::join(&broker, "judge", "hepalert/v1/test/#");
        let house = House::with_bundle(broker.port, 3, &small_engine(), "");
        let config = fs::read_to_string(house.config()).unwrap();
        let config =
            config.replace("quiet_s = 2\nphase_quiet_s = 2", "quiet_s = 1\nphase_quiet_s = 1");
        let config = config.replace("min_free_mib = 1\n", "min_free_mib = 1\nkeep_days = 1\n");
        fs::write(house.config(), config).unwrap();
        // The hour after which old rows are removed is two seconds.
        let daemon = house.start_under("HEPALERT_HASTE", "1800");
        let (heard, seqs) = (BTreeMap::new(), Vec::new());
        let health = Value::Null;
        Some(Soak { _broker: broker, subscriber, house, daemon, heard, seqs, health, fed: 0 })
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let folder = self.house.export().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ct.nii.gz.part"), bytes).unwrap();
        fs::rename(folder.join("ct.nii.gz.part"), folder.join("ct.nii.gz")).unwrap();
    }

    /// An hour: studies, one that is no CT, and notes somebody left.
    fn hour(&mut self, hour: usize, studies: usize) {
        for n in 0..studies {
            self.put(&format!("h{hour}-{n}"), &study(self.fed));
            self.fed += 1;
        }
        let grid = Grid::axial([20, 64, 64], [5.0, 5.0, 5.0], [0.0; 3]);
        let value = i16::try_from(hour).unwrap() + 1;
        let flat = Volume::new(grid.into(), Array3::from_elem((20, 64, 64), value));
        self.put(&format!("h{hour}-flat"), &nifti::write::write_i16(&flat));
        let notes = self.house.export().join(format!("h{hour}-notes"));
        fs::create_dir_all(&notes).unwrap();
        fs::write(notes.join("README.txt"), format!("hour {hour}")).unwrap();
        let until = Instant::now() + PATIENCE;
        let ended = |soak: &Soak| (soak.count("event/result"), soak.count("rejected"));
        while ended(self) != (self.fed, 2 * (hour + 1)) {
            assert!(Instant::now() < until, "hour {hour}: {:?}\n{}", self.heard, self.house.log());
            self.listen(Duration::from_millis(200));
        }
    }

    fn count(&self, what: &str) -> usize {
        self.heard.get(what).copied().unwrap_or(0)
    }

    fn listen(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        while let Some(heard) =
            self.subscriber.next(until.saturating_duration_since(Instant::now()))
        {
            let topic = heard.topic.trim_start_matches("hepalert/v1/test/").to_owned();
            let message: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
            self.seqs.extend(message["seq"].as_u64());
            let name = match topic.as_str() {
                "event/study" => message["data"]["state"].as_str().unwrap().to_owned(),
                _ => topic.clone(),
            };
            *self.heard.entry(name).or_default() += 1;
            if topic == "health" {
                self.health = message;
            }
        }
    }

    fn database(&self) -> std::path::PathBuf {
        self.house.database()
    }

    /// An hour passes for all that is kept, here and at the exporting side.
    fn age(&self, hour: usize) {
        let database = Connection::open(self.database()).unwrap();
        database.busy_timeout(Duration::from_secs(10)).unwrap();
        let ms = HOUR.as_millis();
        let sql = format!(
            "BEGIN IMMEDIATE;
             UPDATE outbox SET sent_at = sent_at - {ms}, created = created - {ms};
             UPDATE reports SET created = created - {ms};
             UPDATE jobs SET finished_at = finished_at - {ms}, received_at = received_at - {ms};
             COMMIT;"
        );
        database.execute_batch(&sql).unwrap();
        for folder in ["results", "quarantine"] {
            for entry in fs::read_dir(self.house.state().join(folder)).into_iter().flatten() {
                let path = entry.unwrap().path();
                // The daemon may remove it at this moment.
                let Ok(file) = fs::File::open(&path) else { continue };
                let changed = file.metadata().unwrap().modified().unwrap();
                file.set_modified(changed - HOUR).unwrap();
            }
        }
        let Some(old) = hour.checked_sub(KEEP_HOURS) else { return };
        for entry in fs::read_dir(self.house.export()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with(&format!("h{old}-")) {
                fs::remove_dir_all(path).unwrap();
            }
        }
    }

    fn weigh(&self) -> Weight {
        let state = self.house.state();
        let size = |name: &str| fs::metadata(state.join(name)).map_or(0, |facts| facts.len());
        let database = Connection::open(self.database()).unwrap();
        let sql = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM reports)";
        Weight {
            daemon_kib: memory_kib(self.daemon.pid(), "VmRSS"),
            worker_kib: self.daemon.worker().map_or(0, |pid| memory_kib(pid, "VmRSS")),
            database: size("hepalert.sqlite"),
            log: size("hepalert.sqlite-wal"),
            results: fs::read_dir(state.join("results")).map_or(0, Iterator::count),
            rows: database.query_row(sql, [], |row| row.get(0)).unwrap(),
        }
    }

    /// Every message is one that was to come.
    fn explain(&self, hours: usize) {
        let (studies, flat) = (self.fed, hours);
        let expected = [
            ("received", studies + flat),
            ("queued", studies + flat),
            ("started", studies + flat),
            ("completed", studies),
            ("event/result", studies),
            // One is no CT, one is notes.
            ("rejected", 2 * hours),
            // The tests' engine finds something in each.
            ("event/alert", studies),
        ];
        for (what, count) in expected {
            assert_eq!(self.count(what), count, "{what}: {:?}", self.heard);
        }
        for never in ["failed", "superseded", "event/engine"] {
            assert_eq!(self.count(never), 0, "{never}: {:?}", self.heard);
        }
        let mut seqs = self.seqs.clone();
        seqs.sort_unstable();
        let unbroken: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, unbroken, "each event once, none left out");
        let events: usize = expected.iter().map(|(_, count)| count).sum();
        assert_eq!(seqs.len(), events, "no event of another kind: {:?}", self.heard);
        let health = |name: &str| self.health[name].as_u64().unwrap();
        let open = ["queued", "running", "dead", "outbox_backlog"].map(health);
        assert_eq!(open, [0; 4], "{}", self.health);
    }
}

/// The middle of a day's figures: a single hour may catch a study's memory.
fn middle(weights: &[Weight], of: impl Fn(&Weight) -> u64) -> f64 {
    let mut values: Vec<u64> = weights.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2] as f64
}

fn judge(weights: &[Weight], studies: usize) {
    let (second, last) = (&weights[KEEP_HOURS..2 * KEEP_HOURS], &weights[2 * KEEP_HOURS..]);
    for (name, of) in [
        ("daemon", (|w: &Weight| w.daemon_kib) as fn(&Weight) -> u64),
        ("inference process", |w| w.worker_kib),
    ] {
        let (before, after) = (middle(second, of), middle(last, of));
        let drift = after / before - 1.0;
        println!("{name}: {before:.0} KiB on the second day, {after:.0} KiB on the last");
        assert!(drift.abs() < FLAT, "{name}: {:.1} % in a day", 100.0 * drift);
    }
    let most = |of: fn(&Weight) -> u64| last.iter().map(of).max().unwrap();
    let per_day = last.len() * studies;
    let growth = middle(last, |w| w.database) - middle(second, |w| w.database);
    let per_study = growth / (last.len() * (studies + 1)) as f64;
    println!(
        "database: {:.0} KiB, of it {per_study:.0} bytes a study for ever; its log at most {} KiB",
        middle(last, |w| w.database) / 1024.0,
        most(|w| w.log) >> 10
    );
    println!("kept of a day's {per_day} studies: {:?}", weights.last().unwrap());
    // What names a study again, and its rows of the audit trail, are kept for ever.
    assert!(per_study < 4096.0, "{per_study} bytes");
    assert!(most(|w| w.log) < 16 << 20);
    let a_day_and_an_hour = (KEEP_HOURS + 2) * studies;
    assert!(most(|w| w.results as u64) <= a_day_and_an_hour as u64);
    // Of a study six events and a report; of the other two of an hour five events.
    let rows = (KEEP_HOURS + 2) * (7 * studies + 5);
    assert!(last.iter().all(|w| w.rows <= rows as i64), "{last:?}");
}

#[test]
#[ignore = "`just soak`: about twenty minutes"]
fn three_days_leave_no_more_behind_than_two() {
    let number = |name: &str, otherwise: usize| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
    };
    let (hours, studies) = (3 * KEEP_HOURS, number("HEPALERT_SOAK_STUDIES", 6));
    let Some(mut soak) = Soak::start() else { return };
    let (began, mut weights) = (SystemTime::now(), Vec::new());
    for hour in 0..hours {
        soak.hour(hour, studies);
        soak.age(hour);
        // Time for what comes round every hour.
        soak.listen(Duration::from_millis(2500));
        weights.push(soak.weigh());
        println!("hour {hour}: {:?}", weights[hour]);
    }
    println!("{hours} hours, {} studies in {:?}", soak.fed, began.elapsed().unwrap());
    println!("heard {:?}", soak.heard);
    soak.listen(Duration::from_secs(6));
    soak.explain(hours);
    judge(&weights, studies);
    let (database, log) = (soak.database(), soak.house.log());
    soak.daemon.stop();
    let store = Store::open(&database, Timestamp::now()).unwrap().store;
    store.verify_audit().unwrap();
    assert!(!log.contains("ERROR"), "{log}");
}
