//! The export folder under a running daemon: gone, replaced, restored from a copy, no folder any
//! more, full of bombs. What is wrong is told, what was there before is nothing new.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside a test function")]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use hepalert_voxels::volume::{Grid, Volume, nifti};
use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber};
use crate::campaign::study;
use crate::daemon::{Heart, House, has_reason, is_online, is_state, wait_until};
use crate::objects::patient;
use crate::support::{memory_kib, small_engine};

#[test]
fn a_folder_that_goes_and_comes_back_is_told_and_brings_nothing_twice() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let house = House::with_bundle(broker.port, 1, &small_engine(), "");
    let put = |number: usize| {
        let folder = house.export().join(format!("s{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("ct.nii.gz"), study(number)).unwrap();
    };
    put(1);
    let daemon = house.start();
    let mut heart = Heart::default();
    let mut until = |wanted: &dyn Fn(&str, &Value) -> bool| heart.listen(&subscriber, wanted);
    until(&|topic, _| topic.ends_with("event/result"));

    let (export, aside) = (house.export(), house.export().with_extension("aside"));
    fs::rename(&export, &aside).unwrap();
    until(&|topic, message| has_reason(topic, message, "export_folder_missing"));
    // As when a share is not mounted: an empty folder in its place.
    fs::create_dir(&export).unwrap();
    until(&|topic, message| has_reason(topic, message, "export_mount_lost"));
    fs::remove_dir(&export).unwrap();
    fs::write(&export, "a file").unwrap();
    until(&|topic, message| has_reason(topic, message, "export_folder_unreadable"));
    fs::remove_file(&export).unwrap();
    fs::rename(&aside, &export).unwrap();
    until(&is_online);
    // Deeper than anybody looks.
    let deep = export.join("0/1/2/3/4/5/6/7/8/9");
    fs::create_dir_all(&deep).unwrap();
    until(&|topic, message| has_reason(topic, message, "export_too_deep"));
    fs::remove_dir_all(export.join("0")).unwrap();
    until(&is_online);

    // Restored from a copy: other inodes, other times, the same studies.
    let copied = Command::new("cp").arg("-r").arg(&export).arg(&aside).status().unwrap();
    assert!(copied.success());
    fs::remove_dir_all(&export).unwrap();
    fs::rename(&aside, &export).unwrap();
    put(2);
    until(&|topic, _| topic.ends_with("event/result"));
    // Time for what should not come.
    std::thread::sleep(Duration::from_secs(4));
    put(3);
    until(&|topic, _| topic.ends_with("event/result"));
    daemon.stop();
    assert_eq!(heart.of("event/result").len(), 3, "one result a study");
    let steps = heart.of("event/study");
    let revisions = steps.iter().map(|event| event["rev"].as_u64().unwrap()).max();
    assert_eq!(revisions, Some(1), "nothing was taken in twice");
    assert!(!steps.iter().any(|event| is_state(event, "rejected")), "{steps:#?}");
}

#[test]
fn whatever_of_a_study_goes_from_the_folder_its_alert_stands() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let series = patient(scratch.path());
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let house = House::new(broker.port, 1);
    let folder = house.export().join("DOE^JANE");
    fs::create_dir(&folder).unwrap();
    let mut slices: Vec<_> =
        fs::read_dir(&series).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    slices.sort();
    let half = slices.len() / 2;
    let put = |names: &[OsString]| {
        for name in names {
            fs::copy(series.join(name), folder.join(name)).unwrap();
        }
    };
    put(&slices);
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, |topic, _| topic.ends_with("event/result"));
    // Half of it goes, while the daemon runs and while it does not: nothing follows.
    slices[..half].iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
    std::thread::sleep(Duration::from_secs(4));
    daemon.stop();
    let daemon = house.start();
    wait_until(|| house.log().contains("or a part of it: nothing to do").then_some(()));
    // One of those that are left is corrected: what is left is not judged alone.
    let last = folder.join(slices.last().unwrap());
    let mut bytes = fs::read(&last).unwrap();
    *bytes.iter_mut().nth_back(1).unwrap() ^= 1;
    fs::write(&last, bytes).unwrap();
    heart.listen(&subscriber, |_, message| is_state(message, "rejected"));
    let refused = heart.of("event/study").pop().unwrap();
    assert_eq!(refused["data"]["code"], "earlier_images_gone");
    // All of it goes, folder and all.
    fs::remove_dir_all(&folder).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    daemon.stop();
    let daemon = house.start();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(heart.of("event/result").len(), 1);
    // Who wants it, sends it whole.
    fs::create_dir(&folder).unwrap();
    put(&slices);
    heart.listen(&subscriber, |topic, _| topic.ends_with("event/result"));
    daemon.stop();
    let results = heart.of("event/result");
    let verdicts: Vec<&Value> = results.iter().map(|told| &told["data"]["verdict"]).collect();
    assert_eq!(verdicts, ["suspected", "suspected"]);
    assert!(!house.log().contains("DOE"), "a folder's name may be a patient's");
}

/// A packed image whose head promises so many slices. It holds them, in a few hundred kilobytes, or
/// so many megabytes of packed zeros, which are a thousand times as many once they are read.
fn bomb(slices: usize, megabytes: Option<usize>) -> Vec<u8> {
    let grid = Grid::axial([1, 512, 512], [1.0, 0.8, 0.8], [0.0; 3]);
    let voxels = ndarray::Array3::<i16>::zeros((1, 512, 512));
    let whole = nifti::write::write_i16(&Volume::new(grid.into(), voxels));
    let mut head = Vec::new();
    let mut unpacked = flate2::read::MultiGzDecoder::new(&whole[..]);
    std::io::Read::read_to_end(&mut unpacked, &mut head).unwrap();
    head.truncate(352);
    // The third of the dimensions.
    head[46..48].copy_from_slice(&i16::try_from(slices).unwrap().to_le_bytes());
    let pack = |bytes: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    // A part of the file is eight slices.
    let (zeros, mut bomb) = (pack(&vec![0; 4 << 20]), pack(&head));
    let parts = megabytes.map_or(slices / 8, |megabytes| (megabytes << 20) / zeros.len());
    bomb.extend(zeros.repeat(parts));
    bomb
}

#[test]
fn thirty_bombs_take_neither_memory_nor_the_daemons_voice() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let house = House::with_bundle(broker.port, 1, &small_engine(), "");
    let config = fs::read_to_string(house.config()).unwrap();
    let config = config.replace("[mqtt]\n", "[mqtt]\nhealth_s = 1\n");
    // What ends too early is given up at once.
    fs::write(house.config(), config.replace("settle_s = 1\n", "settle_s = 1\ngive_up_s = 3\n"))
        .unwrap();
    // Ten hold gigabytes more than they promise, ten are as large as a study may just be, ten are
    // larger. No two are one study.
    for number in 0..30 {
        let folder = house.export().join(format!("b{number}"));
        fs::create_dir(&folder).unwrap();
        let bytes = match number % 3 {
            0 => bomb(40 + 8 * number, Some(7)),
            1 => bomb(400 + 8 * number, None),
            _ => bomb(2000 + 8 * number, None),
        };
        fs::write(folder.join("ct.nii.gz"), bytes).unwrap();
    }
    let daemon = house.start();
    let (mut ended, mut worker_kib, mut daemon_kib) = (0, 0, 0);
    let (mut silent, mut heard_at) = (Duration::ZERO, Instant::now());
    let began = Instant::now();
    wait_until(|| daemon.worker());
    while ended < 30 {
        assert!(began.elapsed() < Duration::from_secs(240), "{ended} told\n{}", house.log());
        worker_kib = worker_kib.max(daemon.worker().map_or(0, |pid| memory_kib(pid, "VmHWM")));
        daemon_kib = daemon_kib.max(memory_kib(daemon.pid(), "VmHWM"));
        let Some(heard) = subscriber.next(Duration::from_millis(200)) else { continue };
        if heard.topic.ends_with("/health") {
            silent = silent.max(heard_at.elapsed());
            heard_at = Instant::now();
        } else if heard.topic.ends_with("event/study") {
            let message = heard.json();
            assert!(!is_state(&message, "completed") && !is_state(&message, "failed"));
            ended += usize::from(is_state(&message, "rejected"));
        }
    }
    daemon.stop();
    let [worker, own] = [worker_kib >> 10, daemon_kib >> 10];
    println!("inference process {worker} MiB, daemon {own} MiB, silent for {silent:?} at most");
    assert!(worker < 2048 && own < 256, "{worker} and {own} MiB");
    assert!(silent < Duration::from_secs(15), "{silent:?}");
}
