//! Findings of one patient over several studies, from the images to the objects.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::broker::{Broker, Kind, Subscriber};
use crate::daemon::{Heart, House, is_online};
use hepalert_lab::phantom::{Case, Patient, Size, generate};
use hepalert_study::phase::Setting;
use hepalert_voxels::volume::dicom::write::{SeriesTags, uid_of, write_slice};
use hepalert_voxels::volume::{Grid, Volume};

/// Three of its lesions are found, far from each other: those of these places in the truth.
const SEED: u64 = 18;
const LARGE: usize = 2;
const MIDDLE: usize = 3;
const SMALL: usize = 0;

/// The patient with all lesions, and as it would be without any.
struct Phantom {
    ill: Patient,
    well: Patient,
}

/// One examination.
struct Visit<'a> {
    /// Names study and series.
    name: &'a str,
    patient_id: &'a str,
    /// Lesions that are not there, by their place in the truth.
    without: &'a [usize],
    /// How much higher the table stood.
    height_mm: f64,
    /// Slices are stored from the head to the feet.
    reversed: bool,
}

impl Phantom {
    fn new() -> Phantom {
        let of = |case| generate(SEED, case, Setting::Venous, Size { pixels: 256, ..Size::FULL });
        Phantom { ill: of(Case::Malignant), well: of(Case::Normal) }
    }

    /// Writes the series of a visit into a folder.
    fn visit(&self, visit: &Visit<'_>, folder: &Path) {
        let (_, ill) = &self.ill.phases[0];
        let (_, well) = &self.well.phases[0];
        let mut voxels = ill.voxels().clone();
        for lesion in visit.without {
            let lesion = &self.ill.lesions[*lesion];
            for ((z, y, x), value) in voxels.indexed_iter_mut() {
                let at = ill.grid().ras_mm([z, y, x].map(|n| n as f64));
                let off = |axis: usize| (at[axis] - lesion.centre_ras_mm[axis]).abs();
                if (0..3).all(|axis| off(axis) < lesion.radii_mm[axis] + 8.0) {
                    *value = well.voxels()[[z, y, x]];
                }
            }
        }
        let mut affine = *ill.grid().affine();
        affine[2][3] += visit.height_mm;
        let slices = ill.grid().shape()[0];
        if visit.reversed {
            for row in &mut affine {
                row[3] += row[2] * (slices - 1) as f64;
                row[2] = -row[2];
            }
            voxels.invert_axis(ndarray::Axis(0));
        }
        let grid = Grid::new(ill.grid().shape(), ill.grid().spacing_mm(), affine);
        let volume = Volume::new(grid.into(), voxels.as_standard_layout().into_owned());
        fs::create_dir_all(folder).unwrap();
        for z in 0..slices {
            let slice = write_slice(&volume, z, &tags(visit)).unwrap();
            fs::write(folder.join(format!("{:04}.dcm", z + 1)), slice).unwrap();
        }
    }
}

fn tags(visit: &Visit<'_>) -> SeriesTags {
    SeriesTags {
        patient_id: visit.patient_id.to_owned(),
        patient_name: "FOLLOWED^UP".to_owned(),
        study_uid: uid_of(visit.name),
        series_uid: uid_of(&format!("{} series", visit.name)),
        frame_of_reference_uid: uid_of(&format!("{} frame", visit.name)),
        study_id: "1".to_owned(),
        date: "20260102".to_owned(),
        study_time: "080000".to_owned(),
        acquisition_time: "080710".to_owned(),
        series_number: 2,
        series_description: "Abdomen portal venous 5.0".to_owned(),
        contrast_agent: Some("SYNTHETIC IODINE".to_owned()),
        kvp: 120.0,
        kernel: "PHANTOM".to_owned(),
        manufacturer: "hepalert phantom".to_owned(),
    }
}

impl Phantom {
    /// What the finding at a lesion's place is called, and what it was recognised as.
    fn seen<'a>(&self, report: &'a Value, lesion: usize, height_mm: f64) -> Option<[&'a Value; 2]> {
        let mut place = self.ill.lesions[lesion].centre_ras_mm;
        place[2] += height_mm;
        let found = report["lesions"].as_array().unwrap().iter().find(|one| {
            (0..3).all(|axis| {
                (one["centre_ras_mm"][axis].as_f64().unwrap() - place[axis]).abs() < 8.0
            })
        })?;
        Some([&found["tracking_uid"], &found["earlier"]])
    }
}

#[test]
fn a_finding_is_told_again_in_the_patients_next_studies_and_in_nobody_elses() {
    let Some(broker) = Broker::start(&Kind::default()) else { return };
    let phantom = Phantom::new();
    let subscriber = Subscriber::join(&broker, "dashboard", "hepalert/v1/test/#");
    let house = House::new(broker.port, 1);
    let config = fs::read_to_string(house.config()).unwrap();
    // Nobody listens there: objects are made, and wait.
    let target = "[dicom]\nkey_images = false\n[[dicom.target]]\nname = \"pacs\"\nhost = \
                  \"127.0.0.1\"\nport = 9\nae_title = \"ARCHIVE\"\n";
    fs::write(house.config(), config + target).unwrap();
    let daemon = house.start();
    let mut heart = Heart::default();
    heart.listen(&subscriber, is_online);
    let mut read = |visit: &Visit<'_>| -> (PathBuf, Value) {
        phantom.visit(visit, &house.export().join(visit.name));
        heart.listen(&subscriber, |topic, _| topic.ends_with("event/result"));
        let told = heart.of("event/result");
        let key = told.last().unwrap()["subject"].as_str().unwrap();
        let folder = house.state().join(format!("results/{key}-r1"));
        let report = fs::read(folder.join("report.json")).unwrap();
        (folder, serde_json::from_slice(&report).unwrap())
    };
    let plain =
        Visit { name: "1", patient_id: "P1", without: &[], height_mm: 0.0, reversed: false };
    let (first_folder, first) = read(&Visit { without: &[MIDDLE], ..plain });
    let [large, small] = [LARGE, SMALL].map(|one| phantom.seen(&first, one, 0.0).unwrap());
    assert!(
        phantom.seen(&first, MIDDLE, 0.0).is_none() && large[1].is_null() && small[1].is_null()
    );

    // The table stood higher, slices lie the other way round, one is gone and one is new.
    let second = Visit { name: "2", without: &[SMALL], height_mm: 8.0, reversed: true, ..plain };
    let (second_folder, second) = read(&second);
    let [again, new] = [LARGE, MIDDLE].map(|one| phantom.seen(&second, one, 8.0).unwrap());
    assert!(phantom.seen(&second, SMALL, 8.0).is_none());
    assert_eq!(again[0], large[0], "{second:#}");
    assert_eq!(again[1]["study_key"], first["study_key"]);
    assert!(new[1].is_null() && new[0] != small[0] && new[0] != large[0]);
    // In the objects too.
    let uid = large[0].as_str().unwrap();
    for object in ["segmentation.dcm", "report.dcm"] {
        for folder in [&first_folder, &second_folder] {
            let bytes = fs::read(folder.join("dicom").join(object)).unwrap();
            assert!(bytes.windows(uid.len()).any(|part| part == uid.as_bytes()), "{object}");
        }
    }

    // The same images under another number are another's.
    let (_, stranger) = read(&Visit { name: "3", patient_id: "P2", ..plain });
    for one in [LARGE, MIDDLE, SMALL] {
        let [uid, earlier] = phantom.seen(&stranger, one, 0.0).unwrap();
        assert!(earlier.is_null() && ![large[0], small[0], new[0]].contains(&uid), "{stranger:#}");
    }

    // Where the last result is gone, the one before it counts.
    fs::remove_dir_all(&second_folder).unwrap();
    let (_, third) = read(&Visit { name: "4", height_mm: -15.0, ..plain });
    let third = [LARGE, MIDDLE, SMALL].map(|one| phantom.seen(&third, one, -15.0).unwrap());
    assert_eq!([third[0][0], third[2][0]], [large[0], small[0]]);
    assert!(third[1][1].is_null() && third[1][0] != new[0]);
    daemon.stop();
    assert!(!house.log().contains("P1") && !house.log().contains("FOLLOWED"));
}
