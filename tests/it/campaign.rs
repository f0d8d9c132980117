//! The campaign: cheap studies flow in while daemon, inference process and broker are killed at
//! random and at every named place in turn, and an independent subscriber checks that nothing was
//! lost, doubled or changed. What was aimed at and did not die is no kill.
//!
//! `just campaign --kills 1000` runs a long one; the usual test run makes sixty kills.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hepalert::store::{JobState, Store};
use hepalert_voxels::volume::{Grid, Volume, nifti};
use jiff::Timestamp;
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber};
use crate::daemon::{Daemon, House, kill_pid};
use crate::support::small_engine;

/// Where the program lets itself be killed on the way of a study.
pub(crate) const PLACES: [&str; 11] = [
    "before_commit",
    "after_commit",
    "study_complete",
    "study_queued",
    "study_begun",
    "report_drafted",
    "report_placed",
    "report_read",
    "study_finished",
    "message_sent",
    "events_accepted",
];
/// Longest wait for the last study once nobody is killed any more.
const DRAIN: Duration = Duration::from_secs(300);
/// Longest wait for a named place to be passed.
const AMBUSH: Duration = Duration::from_secs(20);
/// Longest wait for an inference process that is to be killed.
const WORKER: Duration = Duration::from_secs(2);
/// Places that are in the inference process: the daemon lives on.
const OF_WORKER: [&str; 2] = ["report_drafted", "report_placed"];

struct Campaign {
    broker: Broker,
    subscriber: Subscriber,
    house: House,
    daemon: Option<Daemon>,
    rng: ChaCha8Rng,
    fed: usize,
    heard: Vec<(String, Vec<u8>)>,
    /// Places, whose turn it is first.
    turn: VecDeque<&'static str>,
    kills: BTreeMap<&'static str, usize>,
    /// What was aimed at and did not die.
    missed: BTreeMap<&'static str, usize>,
    /// When the broker was killed.
    broker_killed: Vec<Timestamp>,
}

/// A block of liver with air around it, different from every other in one voxel.
pub(crate) fn study(number: usize) -> Vec<u8> {
    let grid = Grid::axial([40, 40, 40], [5.0, 3.0, 3.0], [0.0; 3]);
    let mut voxels = Array3::<i16>::from_elem((40, 40, 40), -1000);
    let inner = ndarray::s![.., 6..34, 6..34];
    voxels.slice_mut(inner).indexed_iter_mut().for_each(|((z, y, x), voxel)| {
        *voxel = 80 + ((z * 7 + y * 3 + x * 5) % 60) as i16;
    });
    voxels[[0, 0, 0]] = -1000 + i16::try_from(number % 900).unwrap();
    voxels[[0, 0, 1]] = -1000 + i16::try_from(number / 900).unwrap();
    nifti::write::write_i16(&Volume::new(grid.into(), voxels))
}

impl Campaign {
    fn start(seed: u64) -> Option<Campaign> {
        let broker = Broker::start(&Kind { persistent: true, ..Kind::default() })?;
        let subscriber = Subscriber::join(&broker, "judge", "hepalert/v1/test/event/#");
        let engine = small_engine();
        let house = House::new(broker.port, 20);
        let config = fs::read_to_string(house.config()).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/venous-demo");
        let config = config.replace(&format!("{shipped:?}"), &format!("{engine:?}"));
        let config =
            config.replace("quiet_s = 2\nphase_quiet_s = 2", "quiet_s = 1\nphase_quiet_s = 1");
        fs::write(house.config(), config).unwrap();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (heard, kills) = (Vec::new(), BTreeMap::new());
        let mut campaign = Campaign {
            broker,
            subscriber,
            house,
            daemon: None,
            rng,
            fed: 0,
            heard,
            turn: PLACES.into(),
            kills,
            missed: BTreeMap::new(),
            broker_killed: Vec::new(),
        };
        campaign.daemon = Some(campaign.house.start());
        Some(campaign)
    }

    fn feed(&mut self, count: usize) {
        for _ in 0..count {
            let folder = self.house.export().join(format!("s{}", self.fed));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("ct.nii.gz.part"), study(self.fed)).unwrap();
            fs::rename(folder.join("ct.nii.gz.part"), folder.join("ct.nii.gz")).unwrap();
            self.fed += 1;
        }
    }

    fn listen(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.subscriber.next(left) {
                Some(heard) => self.heard.push((heard.topic, heard.body)),
                None => return,
            }
        }
    }

    fn kill_one(&mut self) {
        let what = match self.rng.random_range(0..10) {
            0..3 => "daemon",
            3..5 => "worker",
            5..6 => "broker",
            _ => self.turn[0],
        };
        let died = match what {
            "daemon" => {
                self.daemon.take().unwrap().kill();
                self.daemon = Some(self.house.start());
                true
            }
            "worker" => self.kill_worker(),
            "broker" => {
                self.broker.kill();
                self.broker_killed.push(Timestamp::now());
                let pause = self.rng.random_range(0..800);
                std::thread::sleep(Duration::from_millis(pause));
                self.broker.restart();
                true
            }
            place => {
                let reached = self.ambush(place);
                if reached {
                    self.turn.rotate_left(1);
                }
                reached
            }
        };
        let counts = if died { &mut self.kills } else { &mut self.missed };
        *counts.entry(what).or_default() += 1;
    }

    /// False if there is no inference process to be killed.
    fn kill_worker(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < WORKER {
            if let Some(pid) = self.daemon.as_ref().unwrap().worker() {
                kill_pid(pid);
                return true;
            }
            self.listen(Duration::from_millis(20));
        }
        false
    }

    /// The daemon is started anew, to die at this place; the inference process may be the one. True
    /// if it did: by itself, and not because this waits no longer.
    fn ambush(&mut self, place: &str) -> bool {
        self.daemon.take().unwrap().kill();
        let time = self.rng.random_range(1..4);
        let mut daemon = self.house.start_with(&format!("{place}:{time}"));
        // So often is each place passed, whatever else waits.
        self.feed(time);
        let (began, mut workers) = (Instant::now(), BTreeSet::new());
        let mut reached = false;
        while began.elapsed() < AMBUSH && !reached {
            self.listen(Duration::from_millis(50));
            workers.extend(daemon.worker());
            let replaced = OF_WORKER.contains(&place) && workers.len() > 1;
            reached = replaced || daemon.has_ended();
        }
        daemon.kill();
        self.daemon = Some(self.house.start());
        reached
    }

    fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    fn outcomes(&self) -> BTreeSet<String> {
        let ended = |(topic, body): &(String, Vec<u8>)| {
            let message: Value = serde_json::from_slice(body).unwrap();
            let rejected = message["data"]["state"] == "rejected";
            (topic.ends_with("/result") || rejected)
                .then(|| message["subject"].as_str().unwrap().to_owned())
        };
        self.heard.iter().filter_map(ended).collect()
    }

    fn database(&self) -> PathBuf {
        self.house.database()
    }

    /// Jobs that did not end well: which, where they stand, after how many attempts.
    fn left(&self) -> Vec<String> {
        let jobs = Store::open_read_only(&self.database()).unwrap().jobs(usize::MAX >> 1).unwrap();
        let left = jobs.iter().filter(|job| job.state != JobState::Done);
        left.map(|job| format!("{} {} after {} attempts", job.study_key, job.state, job.attempts))
            .collect()
    }

    /// Results that were sent and not heard: number, when the broker took it, and how long after
    /// that it was killed.
    fn unheard(&self) -> Vec<String> {
        let heard = self.outcomes();
        let store = Store::open_read_only(&self.database()).unwrap();
        let last = store.backlog().unwrap().next_seq;
        let rows = (0..=last / 1000)
            .flat_map(|page| store.outbox_range(page * 1000, page * 1000 + 999).unwrap());
        let missing = rows.filter(|row| {
            let subject = row.event.subject.as_ref();
            row.event.topic == "event/result" && subject.is_some_and(|one| !heard.contains(one))
        });
        missing
            .map(|row| {
                let after = row.sent_at.and_then(|sent| {
                    let later = self.broker_killed.iter().filter(|killed| **killed >= sent);
                    later.map(|killed| killed.duration_since(sent)).min()
                });
                format!(
                    "event {}, taken {:?}, the broker killed {after:?} later",
                    row.seq, row.sent_at
                )
            })
            .collect()
    }

    fn drain(&mut self) {
        // Waits double with each attempt, up to an hour: nobody is killed any more, so they may end.
        let database = rusqlite::Connection::open(self.database()).unwrap();
        database.busy_timeout(Duration::from_secs(10)).unwrap();
        database.execute("UPDATE jobs SET not_before = 0 WHERE state = 'queued'", []).unwrap();
        let began = Instant::now();
        while self.outcomes().len() < self.fed {
            assert!(
                began.elapsed() < DRAIN,
                "{} of {} studies were heard of; not done: {:#?}; not heard: {:#?}\n{}",
                self.outcomes().len(),
                self.fed,
                self.left(),
                self.unheard(),
                self.house.log().lines().rev().take(40).collect::<Vec<_>>().join("\n")
            );
            self.listen(Duration::from_secs(1));
        }
    }

    /// What must be true whatever was killed.
    fn judge(mut self) {
        let zombies = self.daemon.as_ref().unwrap().zombies();
        assert_eq!(zombies, 0, "children that nobody waits for");
        self.daemon.take().unwrap().stop();
        self.listen(Duration::from_secs(3));
        let mut bodies: BTreeMap<String, Value> = BTreeMap::new();
        let mut results: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut seqs = BTreeSet::new();
        for (topic, body) in &self.heard {
            let message: Value = serde_json::from_slice(body).unwrap();
            let id = message["id"].as_str().unwrap().to_owned();
            seqs.insert(message["seq"].as_u64().unwrap());
            if topic.ends_with("/result") {
                let subject = message["subject"].as_str().unwrap().to_owned();
                results.entry(subject).or_default().insert(id.clone());
            }
            let known = bodies.entry(id).or_insert_with(|| message.clone());
            assert_eq!(*known, message, "one id, two bodies");
        }
        let doubled = results.values().filter(|ids| ids.len() != 1).count();
        assert_eq!((doubled, results.len()), (0, self.fed), "one result per study");
        let last = *seqs.last().unwrap();
        let gaps: Vec<u64> = (1..=last).filter(|seq| !seqs.contains(seq)).collect();
        assert!(gaps.is_empty(), "events never heard: {gaps:?}");
        let opened = Store::open(&self.database(), Timestamp::now());
        let opened = opened.unwrap();
        assert!(opened.moved_away.is_none(), "the store was whole");
        opened.store.verify_audit().unwrap();
        let counts = opened.store.job_counts().unwrap();
        assert_eq!((counts.done as usize, counts.queued + counts.running), (self.fed, 0));
        let backlog = opened.store.backlog().unwrap();
        assert_eq!(
            (backlog.unsent, backlog.next_seq),
            (0, last + 1),
            "all that was written is heard"
        );
        let left: Vec<PathBuf> = fs::read_dir(self.house.state().join("results"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.join("report.json").is_file())
            .collect();
        assert!(left.is_empty(), "half a report: {left:?}");
        let orphans = crate::demo::running_in(self.house.config().parent().unwrap());
        assert_eq!(orphans, Vec::<String>::new(), "somebody was left running");
        println!(
            "{} kills over {} studies, {} messages heard, {last} events: {:?}; not reached: {:?}",
            self.killed(),
            self.fed,
            self.heard.len(),
            self.kills,
            self.missed
        );
    }
}

#[test]
fn nothing_is_lost_or_doubled_whoever_dies() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
    };
    let kills = number("HEPALERT_CAMPAIGN_KILLS", 60);
    let Some(mut campaign) = Campaign::start(number("HEPALERT_CAMPAIGN_SEED", 1)) else { return };
    for tries in 1.. {
        campaign.feed(1);
        let pause = campaign.rng.random_range(100..900);
        campaign.listen(Duration::from_millis(pause));
        campaign.kill_one();
        if campaign.killed() as u64 >= kills {
            break;
        }
        assert!(
            tries < 2 * kills,
            "killed {:?}, not reached {:?}",
            campaign.kills,
            campaign.missed
        );
    }
    campaign.drain();
    let never = |place: &&&str| !campaign.kills.contains_key(**place);
    let never: Vec<&&str> = PLACES.iter().filter(never).collect();
    assert!(kills < 60 || never.is_empty(), "nobody died at {never:?}");
    campaign.judge();
}
