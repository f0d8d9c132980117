//! Inputs that were read wrongly in the field, and what must come of them; real CT where it is
//! at hand.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hepalert::intake::{
    Confidence, GateParams, Loaded, PhaseRules, QualityFlag, Refusal, StudyFiles, discover, load,
    load_paths, study_key,
};
use hepalert_study::phase::Phase;
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::Volume;
use hepalert_voxels::volume::dicom;
use hepalert_voxels::volume::dicom::acquisitions::split_headers;

use crate::support::shared_data;

const VENOUS: [Phase; 1] = [Phase::Vp];

fn key_of(uid: &str) -> StudyKey {
    study_key(b"site", uid)
}

/// The files of a field case, unpacked.
fn case(into: &Path, kind: &str, name: &str) -> Option<PathBuf> {
    let data = shared_data()?.join("field-cases").join(kind);
    let packed = data.join(format!("{name}.tar.gz"));
    if !packed.exists() {
        return Some(data.join(name));
    }
    let folder = into.join(name);
    fs::create_dir_all(&folder).unwrap();
    let done = Command::new("tar").arg("xzf").arg(packed).arg("-C").arg(&folder).status().unwrap();
    assert!(done.success());
    Some(folder)
}

fn read(input: &Path) -> Result<(StudyFiles, Loaded), Refusal> {
    let gate = GateParams::default();
    let found = discover(input, &[VENOUS.to_vec()], &PhaseRules::default(), &gate, &key_of)?;
    let study = found.studies.into_iter().next().unwrap();
    let loaded = load(&study, &VENOUS, &gate)?;
    Ok((study, loaded))
}

fn volume(loaded: &Loaded) -> &Volume<f32> {
    &loaded.study.phases[&Phase::Vp]
}

/// Each with the reason and a part of the sentence.
#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn what_cannot_be_read_rightly_is_refused_by_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let table = [
        ("slices-without-image", "black_12_of_36", "slices_without_image", "12 of them: "),
        ("slices-without-image", "black_3_of_36", "slices_without_image", "3 of them: "),
        ("slices-without-image", "intercept_0_in_10_of_36", "rescale_jump", "10 of them: "),
        ("hu-not-plausible", "hu_times_10.nii.gz", "not_ct_values", " HU"),
        ("message-lost", "two_volumes.nii.gz", "unsupported_format", "are not one volume"),
        (
            "message-lost",
            "sform_5_pixdim_3.75.nii.gz",
            "corrupt_file",
            "two voxel spacings along one axis, 3.75 mm and 5 mm",
        ),
        ("message-lost", "pair.hdr", "unsupported_format", ".hdr/.img pair"),
        ("message-lost", "pair.img", "unsupported_format", ".hdr/.img pair"),
        ("message-lost", "enhanced_ct", "unsupported_format", "enhanced multi-frame CT"),
    ];
    for (kind, name, code, said) in table {
        let Some(input) = case(dir.path(), kind, name) else { return };
        let refusal = read(&input).map(drop).expect_err(name);
        assert_eq!(refusal.code.as_str(), code, "{name}: {refusal}");
        assert!(refusal.detail.contains(said), "{name}: {}", refusal.detail);
    }
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn padding_that_looks_like_metal_is_made_air_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let Some(input) = case(dir.path(), "hu-not-plausible", "padding_63536_unsigned") else {
        return;
    };
    let (_, loaded) = read(&input).unwrap();
    assert_eq!(loaded.phases[0].quality, [QualityFlag::PaddingReplaced]);
    let voxels = volume(&loaded).voxels();
    assert!(voxels.iter().all(|hu| *hu <= 3071.0));
    assert_eq!(voxels[[0, 0, 0]], -1024.0);
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn zeros_behind_a_gzip_stream_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let Some(input) = case(dir.path(), "message-lost", "gz_with_zero_padding.nii.gz") else {
        return;
    };
    let (_, loaded) = read(&input).unwrap();
    assert_eq!(volume(&loaded).grid().shape(), [36, 74, 74]);
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn slices_that_share_an_instance_uid_are_all_read() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["all_share_one", "last_two_share_one_0", "last_two_share_one_1"] {
        let Some(input) = case(dir.path(), "same-sop-uid", name) else { return };
        let (study, loaded) = read(&input).unwrap();
        assert_eq!(study.phases[0].files.len(), 36, "{name}");
        assert_eq!(volume(&loaded).grid().shape(), [36, 74, 74], "{name}");
    }
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn two_passes_in_one_series_are_never_one_volume() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["interleaved_half_step", "interleaved_1mm_message"] {
        let Some(input) = case(dir.path(), "two-passes-one-series", name) else { return };
        let (study, loaded) = read(&input).unwrap();
        // The other pass stands by as a candidate; what is read as the phase is one pass.
        let numbers: Vec<Option<i64>> = study.phases[0]
            .files
            .iter()
            .map(|path| dicom::read::read_header(&fs::read(path).unwrap()).unwrap())
            .map(|header| header.acquisition_number)
            .collect();
        assert_eq!(numbers.len(), 36, "{name}");
        assert!(numbers.iter().all(|number| *number == numbers[0]), "{name}: {numbers:?}");
        assert_eq!(loaded.phases[0].spacing_mm[0], 5.0, "{name}");
        assert_eq!(loaded.phases[0].quality, [QualityFlag::SeriesSplit], "{name}");
        assert_eq!(loaded.phases[0].files.confidence, Confidence::Low, "{name}: which pass it is");
        // Named as one phase by a person, nobody knows which is meant.
        let folder = fs::read_dir(&input).unwrap().next().unwrap().unwrap().path();
        let given = load_paths(&key_of("x"), &[(Phase::Vp, folder)], &GateParams::default());
        let refusal = given.unwrap_err();
        assert_eq!(refusal.code.as_str(), "duplicate_slice_positions", "{name}");
        assert!(refusal.detail.contains("2 acquisitions of 36 and 36 slices"), "{refusal}");
    }
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn three_acquisitions_in_one_real_series_are_three_whole_volumes() {
    let Some(data) = shared_data() else { return };
    let mut files: Vec<PathBuf> = fs::read_dir(data.join("hcc-tace-011/series-4"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let headers: Vec<dicom::SliceHeader> = files
        .iter()
        .filter_map(|path| dicom::read::read_header(&fs::read(path).unwrap()).ok())
        .collect();
    let parts = split_headers(&headers, |_| None);
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [79, 79, 87]);
    for part in parts {
        let headers: Vec<_> = part.iter().map(|at| headers[*at].clone()).collect();
        assert_eq!(dicom::plan(&headers).unwrap().grid().spacing_mm()[0], 2.5);
    }
}

/// A CD export, a PACS and a person leave such things beside a study.
#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn strangers_beside_a_series_never_refuse_it() {
    let Some(data) = shared_data() else { return };
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data.join("crlm-1004/dicom")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let directory = [
        vec![0; 128],
        b"DICM".to_vec(),
        // MediaStorageSOPClassUID of a directory, then an element of a directory record.
        b"\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10".to_vec(),
        b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0".to_vec(),
        b"\x04\0\x30\x11CS\x04\0DISK".to_vec(),
    ]
    .concat();
    let report = fs::read(data.join("dicom-syntaxes/no-pixel-data.dcm")).unwrap();
    let strangers: [(&str, &[u8]); 9] = [
        ("DIRFILE", &directory),
        ("DICOMDIR", &directory),
        ("report", &report),
        ("photo.jpeg", b"\xff\xd8\xff\xe0 a picture"),
        ("snapshot", b"\x89PNG\r\n\x1a\n a picture"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0 thumbnails"),
        ("slices.md5", b"d41d8cd98f00b204e9800998ecf8427e  IM1"),
        ("all", b"PK\x03\x04 an archive"),
        ("viewer", b"MZ a program"),
    ];
    for (name, bytes) in strangers {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let (study, loaded) = read(dir.path()).unwrap();
    assert_eq!(study.phases[0].files.len(), 41);
    assert!(loaded.phases[0].quality.is_empty());
    let given = [(Phase::Vp, dir.path().to_owned())];
    let given = load_paths(&key_of("x"), &given, &GateParams::default()).unwrap();
    assert_eq!(volume(&given).voxels(), volume(&loaded).voxels());
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn a_broken_image_refuses_its_own_series_only() {
    let dir = tempfile::tempdir().unwrap();
    let kind = "no-second-choice";
    let Some(input) = case(dir.path(), kind, "cut_slice_in_unused_series") else { return };
    let (study, loaded) = read(&input).unwrap();
    assert_eq!(study.phases[0].files.len(), 36);
    assert_eq!(volume(&loaded).grid().shape(), [36, 74, 74]);
    let chosen = &study.phases[0].files[20];
    let whole = fs::read(chosen).unwrap();
    fs::write(chosen, &whole[..whole.len() - 100]).unwrap();
    let refusal = read(&input).unwrap_err();
    assert_eq!(refusal.code.as_str(), "truncated_file");
    assert!(refusal.detail.contains("ends before its image"), "{refusal}");
}

/// Good data: nothing of it may be refused or flagged.
#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn real_examinations_pass_the_look_at_every_slice() {
    let Some(data) = shared_data() else { return };
    let series = [
        "crlm-1004/dicom",
        "chaos-ct3/dicom",
        "hcc-tace-005/series-2",
        "hcc-tace-005/series-4",
        "hcc-tace-005/series-103",
        "hcc-tace-015/series-4",
        "hcc-tace-015/series-103",
    ];
    for name in series {
        let given = [(Phase::Vp, data.join(name))];
        let loaded = load_paths(&key_of("x"), &given, &GateParams::default())
            .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert!(loaded.phases[0].quality.is_empty(), "{name}: {:?}", loaded.phases[0].quality);
    }
}
