//! Every device at a broker: which live, which differ, which need a person.
//!
//! Owns the judgement, from messages alone. A device lives if its health is still to be believed
//! (`valid_for_s`): `availability` is the broker's word, and behind a bridge whose broker has died
//! it stays `online` for ever. Refuses to speak to a broker and to know what time it is: both come in.

mod differences;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::publish::contract::VERSION;
use crate::publish::messages::{Health, Info, State, Status, Worklist};
use crate::publish::mqtt::Heard;
use crate::publish::schedule::Retained;

pub(crate) use differences::Difference;

/// More devices than this at one broker are a mistake, or somebody's attack.
pub(crate) const MAX_DEVICES: usize = 10_000;
/// Clocks that differ by more are said to. Network time keeps them within a second.
const CLOCK_OFF: SignedDuration = SignedDuration::from_secs(30);
/// Two messages that came this far apart, each as far from our clock as the other, were not kept back
/// on the way: what a bridge held back comes in one go.
const APART: SignedDuration = SignedDuration::from_secs(5);
/// How far their distances may differ.
const JITTER: SignedDuration = SignedDuration::from_secs(2);

/// What is to be listened to below a base.
pub(crate) fn filters(base: &str) -> Vec<String> {
    let mut filters: Vec<String> =
        Retained::ALL.map(|of| format!("{base}/{VERSION}/+/{}", of.topic())).to_vec();
    // Bridges of this broker; one that hides its own topics has none.
    filters.push("$SYS/broker/connection/+/state".to_owned());
    filters
}

/// Messages as they came in.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    devices: BTreeMap<String, Heardof>,
    bridges: BTreeMap<String, bool>,
    /// Messages that are not as the contract has them, by topic.
    strange: BTreeMap<String, usize>,
}

/// What was heard of a device.
#[derive(Debug, Default, Clone)]
struct Heardof {
    availability: Option<bool>,
    status: Option<Status>,
    info: Option<Info>,
    health: Option<Health>,
    /// How far its clock is ahead of ours, where health messages that came just now show it.
    clock: Option<SignedDuration>,
    /// How far the last such message was ahead of ours, and when it came.
    live: Option<(SignedDuration, Timestamp)>,
    worklist: Option<Worklist>,
}

/// Whether a device works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Life {
    /// Its health is to be believed.
    Alive,
    /// Its health is older than it may be: whatever the broker says, nobody hears it.
    Silent,
    /// The broker says so, by the device's last will or its farewell.
    Offline,
    /// It was expected and nothing is known of it.
    Unknown,
}

impl Life {
    /// The word.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A device, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Device {
    /// Its name.
    pub device: String,
    /// Whether it works.
    pub life: Life,
    /// What the broker says.
    pub availability: Option<&'static str>,
    /// What it says itself: online, degraded, draining, stopped.
    pub state: Option<State>,
    /// Why it is degraded.
    pub reasons: Vec<String>,
    /// Seconds since its health was true, by its clock corrected to ours where that is known.
    pub health_age_s: Option<i64>,
    /// For how long that was to be believed.
    pub valid_for_s: Option<u32>,
    /// Version of the program.
    pub version: Option<String>,
    /// Engines, as `id version`.
    pub engines: Vec<String>,
    /// Short hashes of them.
    pub engine_sha256: Vec<String>,
    /// Whether its last self-test went well.
    pub self_test: Option<bool>,
    /// When its engine was last tested.
    pub self_test_at: Option<String>,
    /// Studies waiting.
    pub queued: Option<u64>,
    /// Messages the broker has not taken yet.
    pub backlog: Option<u64>,
    /// Alerts that nobody acknowledged.
    pub open_alerts: Option<u64>,
    /// Seconds that its clock is ahead of ours, where it could be seen.
    pub clock_ahead_s: Option<i64>,
    /// Whether its clock follows a time server.
    pub clock_synced: Option<bool>,
    /// Free space, in MiB.
    pub disk_free_mib: Option<u64>,
    /// In what it differs from most others.
    pub differs: Vec<Difference>,
}

impl Device {
    /// Whether nobody needs to look.
    pub(crate) fn is_well(&self) -> bool {
        self.life == Life::Alive
            && self.state == Some(State::Online)
            && self.self_test != Some(false)
            && self.differs.is_empty()
    }
}

/// The fleet, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FleetState {
    /// When, by our clock.
    pub time: String,
    /// The devices by name.
    pub devices: Vec<Device>,
    /// Bridges of this broker, and whether their line is up.
    pub bridges: BTreeMap<String, bool>,
    /// Messages that are not as the contract has them, by topic.
    pub strange: BTreeMap<String, usize>,
}

impl Fleet {
    /// Takes a message that came at this moment.
    pub(crate) fn take(&mut self, base: &str, heard: &Heard, now: Timestamp) {
        if let Some(name) = heard.topic.strip_prefix("$SYS/broker/connection/") {
            let name = name.trim_end_matches("/state").to_owned();
            self.bridges.insert(name, heard.body == b"1");
            return;
        }
        let below = heard.topic.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
        let below = below.and_then(|rest| rest.strip_prefix(VERSION)?.strip_prefix('/'));
        let Some((device, topic)) = below.and_then(|rest| rest.split_once('/')) else { return };
        if self.devices.len() >= MAX_DEVICES && !self.devices.contains_key(device) {
            return;
        }
        if heard.body.is_empty() {
            self.take_away(device, topic);
            return;
        }
        let known = self.devices.entry(device.to_owned()).or_default();
        if known.take(topic, heard, now).is_none() {
            *self.strange.entry(heard.topic.clone()).or_default() += 1;
        }
    }

    /// An empty body takes what was retained away; of a device that was given up nothing is left.
    fn take_away(&mut self, device: &str, topic: &str) {
        let Some(known) = self.devices.get_mut(device) else { return };
        match topic {
            "availability" => known.availability = None,
            "status" => known.status = None,
            "info" => known.info = None,
            "worklist" => known.worklist = None,
            "health" => (known.health, known.clock, known.live) = (None, None, None),
            _ => {}
        }
        if known.is_empty() {
            self.devices.remove(device);
        }
    }

    /// Judges all that was heard of, and those that were expected.
    pub(crate) fn state_at(&self, expected: &[String], now: Timestamp) -> FleetState {
        let nothing = Heardof::default();
        let unheard = expected.iter().filter(|name| !self.devices.contains_key(*name));
        let mut devices: Vec<Device> = self
            .devices
            .iter()
            .chain(unheard.map(|name| (name, &nothing)))
            .map(|(name, heard)| heard.device_at(name, now))
            .collect();
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        differences::mark(&mut devices);
        FleetState {
            time: format!("{now:.0}"),
            devices,
            bridges: self.bridges.clone(),
            strange: self.strange.clone(),
        }
    }
}

impl Heardof {
    fn is_empty(&self) -> bool {
        let Heardof { availability, status, info, health, worklist, clock: _, live: _ } = self;
        availability.is_none()
            && status.is_none()
            && info.is_none()
            && health.is_none()
            && worklist.is_none()
    }

    /// A health message came that was not retained. Far from our clock is either the device's, or
    /// the message was held back by a bridge whose line was down: one alone does not tell.
    fn came(&mut self, ahead: SignedDuration, now: Timestamp) {
        let as_before = |(before, at): (SignedDuration, Timestamp)| {
            (ahead - before).abs() <= JITTER && now.duration_since(at) >= APART
        };
        if ahead.abs() <= CLOCK_OFF || self.live.is_some_and(as_before) {
            self.clock = Some(ahead);
        }
        self.live = Some((ahead, now));
    }

    /// `None` for a message that is not as it should be.
    fn take(&mut self, topic: &str, heard: &Heard, now: Timestamp) -> Option<()> {
        let body = &heard.body;
        match topic {
            "availability" => self.availability = Some(said(body)?),
            "status" => self.status = Some(serde_json::from_slice(body).ok()?),
            "info" => self.info = Some(serde_json::from_slice(body).ok()?),
            "worklist" => self.worklist = Some(serde_json::from_slice(body).ok()?),
            "health" => {
                let health: Health = serde_json::from_slice(body).ok()?;
                if !heard.retained {
                    self.came(health.time.0.duration_since(now), now);
                }
                self.health = Some(health);
            }
            _ => return None,
        }
        Some(())
    }

    fn device_at(&self, name: &str, now: Timestamp) -> Device {
        let clock = self.clock.unwrap_or_default();
        let age = self.health.as_ref().map(|health| now.duration_since(health.time.0) + clock);
        let valid = self.health.as_ref().map(|health| health.valid_for_s);
        let vitals = self.health.as_ref().map(|health| &health.vitals);
        let engines = self.info.iter().flat_map(|info| &info.engines);
        let mut named: Vec<(String, String)> = engines
            .map(|engine| {
                (
                    format!("{} {}", engine.id, engine.version),
                    engine.sha256.chars().take(12).collect(),
                )
            })
            .collect();
        named.dedup();
        let (engines, engine_sha256) = named.into_iter().unzip();
        let test = vitals.and_then(|vitals| vitals.last_self_test.as_ref());
        Device {
            device: name.to_owned(),
            life: self.life(age, valid),
            availability: self.availability.map(|on| if on { "online" } else { "offline" }),
            state: self.status.as_ref().map(|status| status.state),
            reasons: self
                .status
                .iter()
                .flat_map(|status| &status.reasons)
                .map(|code| code.as_str().to_owned())
                .collect(),
            health_age_s: age.map(|age| age.as_secs()),
            valid_for_s: valid,
            version: self.info.as_ref().map(|info| info.version.clone()),
            engines,
            engine_sha256,
            self_test: test.map(|test| test.passed),
            self_test_at: test.map(|test| format!("{:.0}", test.at.0)),
            queued: vitals.map(|vitals| vitals.queued),
            backlog: vitals.map(|vitals| vitals.outbox_backlog),
            open_alerts: self.worklist.as_ref().map(|list| list.open_total),
            clock_ahead_s: self.clock.map(|ahead| ahead.as_secs()),
            clock_synced: self.info.as_ref().and_then(|info| info.clock_synced),
            disk_free_mib: vitals.and_then(|vitals| vitals.disk_free_mib),
            differs: Vec::new(),
        }
    }

    fn life(&self, age: Option<SignedDuration>, valid: Option<u32>) -> Life {
        match (self.availability, age, valid) {
            (Some(false), ..) => Life::Offline,
            (None, None, _) => Life::Unknown,
            // Health from the future is not believed before two messages tell that it is the clock.
            (_, Some(age), Some(valid))
                if -CLOCK_OFF <= age && age.as_secs() <= i64::from(valid) =>
            {
                Life::Alive
            }
            _ => Life::Silent,
        }
    }
}

fn said(body: &[u8]) -> Option<bool> {
    match body {
        b"online" => Some(true),
        b"offline" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "hepalert";

    fn heard(topic: &str, body: &str, retained: bool) -> Heard {
        let topic = format!("{BASE}/v1/{topic}");
        Heard { topic, body: body.into(), retained }
    }

    fn health(time: &str) -> String {
        format!(
            r#"{{"schema":"urn:hepalert:v1:health","time":"{time}","valid_for_s":150,"queued":2,"running":0,
            "dead":0,"outbox_backlog":3,"disk_free_mib":900,"last_self_test":{{"at":"{time}","passed":true}}}}"#
        )
    }

    fn info(version: &str, sha: &str) -> String {
        format!(
            r#"{{"schema":"urn:hepalert:v1:info","version":"{version}","schemas":[],"engines":[
            {{"role":"segment","id":"liver","version":"4","sha256":"{sha}"}}],"config_sha256":"","boot":1,
            "next_seq":9,"clock_synced":true}}"#
        )
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn a_device_lives_as_long_as_its_health_is_valid_whatever_the_broker_says() {
        let mut fleet = Fleet::default();
        let now = at("2026-11-30T10:00:00Z");
        fleet.take(BASE, &heard("ct-1/availability", "online", true), now);
        fleet.take(BASE, &heard("ct-1/health", &health("2026-11-30T09:58:00.000Z"), true), now);
        fleet.take(BASE, &heard("ct-2/availability", "offline", true), now);
        let lives = |fleet: &Fleet, now| {
            let judged = fleet.state_at(&["ct-2".into(), "ct-9".into()], now);
            judged.devices.iter().map(|device| device.life).collect::<Vec<_>>()
        };
        assert_eq!(lives(&fleet, now), [Life::Alive, Life::Offline, Life::Unknown]);
        let later = at("2026-11-30T10:00:31Z");
        assert_eq!(lives(&fleet, later), [Life::Silent, Life::Offline, Life::Unknown]);
        let device = &fleet.state_at(&[], now).devices[0];
        assert_eq!((device.backlog, device.disk_free_mib), (Some(3), Some(900)));
        assert_eq!((device.self_test, device.health_age_s), (Some(true), Some(120)));
    }

    #[test]
    fn a_clock_that_is_off_is_seen_by_two_that_come_just_now_and_kills_nobody() {
        let mut fleet = Fleet::default();
        let mut came = |sent: &str, now: &str| {
            fleet.take(BASE, &heard("ct-1/health", &health(sent), false), at(now));
            let device = fleet.state_at(&[], at(now)).devices.remove(0);
            (device.life, device.clock_ahead_s, device.differs)
        };
        // Ten minutes behind: by its own time it would be long silent.
        let first = came("2026-11-30T09:50:00.000Z", "2026-11-30T10:00:00Z");
        assert_eq!(first, (Life::Silent, None, vec![]));
        let second = came("2026-11-30T09:51:00.000Z", "2026-11-30T10:01:00Z");
        assert_eq!(second, (Life::Alive, Some(-600), vec![Difference::Clock]));
    }

    #[test]
    fn health_from_the_future_keeps_nobody_alive() {
        let mut fleet = Fleet::default();
        let ahead = heard("ct-1/health", &health("2099-01-01T00:00:00.000Z"), true);
        fleet.take(BASE, &ahead, at("2026-11-30T10:00:00Z"));
        let device = fleet.state_at(&[], at("2026-11-30T10:00:01Z")).devices.remove(0);
        assert_eq!(device.life, Life::Silent);
    }

    #[test]
    fn what_a_bridge_held_back_does_not_make_the_dead_alive() {
        let mut fleet = Fleet::default();
        let mut came = |sent: &str, now: &str| {
            fleet.take(BASE, &heard("ct-1/health", &health(sent), false), at(now));
            let device = fleet.state_at(&[], at(now)).devices.remove(0);
            (device.life, device.clock_ahead_s)
        };
        for sent in ["2026-11-30T09:48:00.000Z", "2026-11-30T09:49:00.000Z"] {
            assert_eq!(came(sent, "2026-11-30T10:00:00Z"), (Life::Silent, None));
        }
        let right = came("2026-11-30T10:00:30.000Z", "2026-11-30T10:00:31Z");
        assert_eq!(right, (Life::Alive, Some(-1)));
        // Once its clock is known, a late message is a late message.
        let late = came("2026-11-30T10:01:30.000Z", "2026-11-30T10:31:31Z");
        assert_eq!(late, (Life::Silent, Some(-1)));
    }

    #[test]
    fn a_device_that_is_given_up_is_gone() {
        let mut fleet = Fleet::default();
        let now = at("2026-11-30T10:00:00Z");
        fleet.take(BASE, &heard("ct-1/availability", "online", true), now);
        fleet.take(BASE, &heard("ct-1/info", &info("0.1.0", "aa"), true), now);
        fleet.take(BASE, &heard("ct-1/availability", "", false), now);
        assert_eq!(fleet.state_at(&[], now).devices.len(), 1);
        for topic in ["ct-1/info", "ct-1/info", "ct-2/info"] {
            fleet.take(BASE, &heard(topic, "", false), now);
        }
        assert!(fleet.state_at(&[], now).devices.is_empty());
    }

    #[test]
    fn what_differs_from_most_is_marked_and_nonsense_counted() {
        let mut fleet = Fleet::default();
        let now = at("2026-11-30T10:00:00Z");
        for (name, version, sha) in
            [("a", "0.1.0", "aa"), ("b", "0.1.0", "aa"), ("c", "0.2.0", "aa"), ("d", "0.1.0", "bb")]
        {
            fleet.take(BASE, &heard(&format!("{name}/info"), &info(version, sha), true), now);
        }
        fleet.take(BASE, &heard("e/health", "{}", true), now);
        fleet.take(BASE, &heard("e/availability", "perhaps", true), now);
        fleet.take(BASE, &heard("f/status", "", true), now);
        let judged = fleet.state_at(&[], now);
        let differs: Vec<_> = judged.devices.iter().map(|device| device.differs.clone()).collect();
        let (version, engine) = (vec![Difference::Version], vec![Difference::Engine]);
        assert_eq!(differs, [vec![], vec![], version, engine, vec![]]);
        assert_eq!(judged.strange.len(), 2);
    }

    #[test]
    fn bridges_are_told() {
        let mut fleet = Fleet::default();
        let topic = "$SYS/broker/connection/vm.core/state".to_owned();
        fleet.take(
            BASE,
            &Heard { topic, body: b"0".to_vec(), retained: true },
            Timestamp::UNIX_EPOCH,
        );
        let judged = fleet.state_at(&[], Timestamp::UNIX_EPOCH);
        assert_eq!(judged.bridges.into_iter().collect::<Vec<_>>(), [("vm.core".to_owned(), false)]);
    }
}
