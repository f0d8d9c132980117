//! Reads one file: what it is, whose, and whether it is whole.
//!
//! Owns the step from bytes to [`FileFacts`]. Refuses links and special files, and reads no
//! more than the limits allow. Free text of a header stays within intake.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::events::{Broken, Stranger};
use super::facts::{FileFacts, Part, SliceFacts};
use super::fingerprint::{Digest, digest_of};
use super::names::{self, NiftiName};
use super::phases::recon;
use super::reasons::RejectCode;
use super::refusals::{of_dicom, of_nifti};
use super::strangers::top_folder;
use super::suited::is_map;
use super::watch::Stamp;
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::dicom::DicomError;
use hepalert_voxels::volume::dicom::read::{SliceHeader, read_header, read_slice};
use hepalert_voxels::volume::nifti::read::{Facts, peek};

/// Makes a key of a study UID.
pub type KeyOf<'a> = &'a (dyn Fn(&str) -> StudyKey + Sync);

/// A DICOM object larger than this is not held in memory to look at it: a CT slice of
/// 4096 x 4096 has 32 MiB.
const MAX_SLICE_BYTES: u64 = 64 << 20;

/// Enough for any header, if no icon or private block comes first.
const HEADER_BYTES: u64 = 1 << 20;

/// Enough for the header of a NIfTI file, gzipped or not.
const NIFTI_PREFIX_BYTES: u64 = 64 << 10;

/// Bytes that may follow the voxels of a NIfTI file.
const NIFTI_PADDING_BYTES: u64 = 64 << 10;

/// The SOP class of a DICOMDIR.
const MEDIA_DIRECTORY: &str = "1.2.840.10008.1.3.10";

/// What is asked of a file.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    /// The export folder: NIfTI studies are named below it.
    pub root: &'a Path,
    /// Makes keys.
    pub key_of: KeyOf<'a>,
    /// Most bytes of one file.
    pub max_file_bytes: u64,
    /// Whether inodes mean nothing here.
    pub is_network: bool,
}

/// Why there are no facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeError {
    /// The file changed, or went away, while it was read.
    Changed,
    /// Not an image, and no promise of one: which kind of stranger.
    Foreign(&'static str),
    /// It should be an image and cannot be used.
    Broken(Broken),
}

impl Probe<'_> {
    /// Whose study a file is by its name alone.
    pub fn study_by_name(&self, path: &Path) -> Option<StudyKey> {
        let name = names::nifti_name(path.file_name()?)?;
        Some(self.nifti_key(path, &name))
    }

    /// Under which key a path is told that belongs to no study: that of the folder of the
    /// export that it lies in, so that all strangers there are one event.
    pub fn alone(&self, path: &Path) -> StudyKey {
        let folder = top_folder(self.root, path);
        let below = folder.strip_prefix(self.root).unwrap_or(&folder);
        (self.key_of)(&format!("folder/{}", names::text_of(below.as_os_str())))
    }

    fn nifti_key(&self, path: &Path, name: &NiftiName) -> StudyKey {
        let folder = path.parent().unwrap_or(Path::new(""));
        let folder = folder.strip_prefix(self.root).unwrap_or(folder);
        (self.key_of)(&names::nifti_study_uid(folder, &name.case))
    }

    /// Reads the file and says what it is, if it still has this stamp before and after.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn read(&self, path: &Path, stamp: Stamp) -> Result<FileFacts, ProbeError> {
        match self.try_read(path, stamp) {
            Ok(facts) => facts,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ProbeError::Changed),
            // What is there is unknown: the stamp stands for it.
            Err(_) => {
                let content = Digest::of(format!("{stamp:?}").as_bytes());
                Err(self.broken(path, RejectCode::Unreadable, content, None))
            }
        }
    }

    fn try_read(&self, path: &Path, stamp: Stamp) -> io::Result<Result<FileFacts, ProbeError>> {
        let mut file = open_regular(path)?;
        let is_same = |file: &File| -> io::Result<bool> {
            Ok(Stamp::of(&file.metadata()?, self.is_network) == stamp)
        };
        if !is_same(&file)? {
            return Ok(Err(ProbeError::Changed));
        }
        let name = path.file_name().unwrap_or_default();
        let found = if stamp.bytes > self.max_file_bytes {
            Err(self.broken(path, RejectCode::AbsurdSize, size_digest(stamp), None))
        } else if let Some(name) = names::nifti_name(name) {
            self.nifti(path, &mut file, stamp, name)?
        } else if let Some(kind) = stranger_by_name(name)
            && (names::directory(name) || !begins_as_dicom(&file))
        {
            // An ending is no proof: exporters call slices `1.txt` and `7.lock`.
            Err(ProbeError::Foreign(kind))
        } else if stamp.bytes > MAX_SLICE_BYTES {
            self.large_dicom(path, &mut file)?
        } else {
            let mut bytes = Vec::new();
            (&mut file).take(MAX_SLICE_BYTES + 1).read_to_end(&mut bytes)?;
            self.dicom(path, &bytes)
        };
        Ok(if is_same(&file)? { found } else { Err(ProbeError::Changed) })
    }

    fn broken(
        &self,
        path: &Path,
        code: RejectCode,
        content: Digest,
        of: Option<(StudyKey, Option<Digest>)>,
    ) -> ProbeError {
        let (study, series) = of.map_or((None, None), |(study, series)| (Some(study), series));
        ProbeError::Broken(Broken { code, content, study, series, alone: self.alone(path) })
    }

    fn nifti(
        &self,
        path: &Path,
        file: &mut File,
        stamp: Stamp,
        name: NiftiName,
    ) -> io::Result<Result<FileFacts, ProbeError>> {
        let mut prefix = Vec::new();
        (&mut *file).take(NIFTI_PREFIX_BYTES).read_to_end(&mut prefix)?;
        file.rewind()?;
        let content = digest_of(&mut *file)?;
        let study = self.nifti_key(path, &name);
        let refuse = |code| Err(self.broken(path, code, content, Some((study.clone(), None))));
        let facts = match peek(&prefix) {
            Ok(facts) => facts,
            Err(error) => return Ok(refuse(of_nifti(&error))),
        };
        file.rewind()?;
        Ok(match whole_nifti(file, &facts, stamp.bytes)? {
            None => Ok(FileFacts { study, content, part: Part::Nifti(name) }),
            Some(code) => refuse(code),
        })
    }

    fn dicom(&self, path: &Path, bytes: &[u8]) -> Result<FileFacts, ProbeError> {
        let content = Digest::of(bytes);
        let code = |error: &DicomError| match error {
            DicomError::NotDicom if bytes.is_empty() => RejectCode::TruncatedFile,
            error => of_dicom(error),
        };
        let header =
            read_header(bytes).map_err(|error| self.broken(path, code(&error), content, None))?;
        let facts = self.slice(path, content, &header)?;
        let Part::Slice(slice) = &facts.part else { return Ok(facts) };
        // Decoded once here to know that it is whole; other faults are named when loading.
        if slice.set_aside.is_none() && matches!(read_slice(bytes), Err(DicomError::Truncated)) {
            let of = Some((facts.study, Some(slice.series)));
            return Err(self.broken(path, RejectCode::TruncatedFile, content, of));
        }
        Ok(facts)
    }

    /// Too large for a slice: perhaps a multi-frame object, which is set aside by its class.
    fn large_dicom(
        &self,
        path: &Path,
        file: &mut File,
    ) -> io::Result<Result<FileFacts, ProbeError>> {
        let mut prefix = Vec::new();
        (&mut *file).take(HEADER_BYTES).read_to_end(&mut prefix)?;
        file.rewind()?;
        let content = digest_of(&mut *file)?;
        let refuse = |code, of| Err(self.broken(path, code, content, of));
        Ok(match read_header(&prefix) {
            Err(DicomError::NotDicom) => refuse(RejectCode::UnknownFormat, None),
            Err(_) => refuse(RejectCode::AbsurdSize, None),
            Ok(header) => match self.slice(path, content, &header) {
                Ok(FileFacts { study, part: Part::Slice(slice), .. })
                    if slice.set_aside.is_none() =>
                {
                    refuse(RejectCode::AbsurdSize, Some((study, Some(slice.series))))
                }
                facts => facts,
            },
        })
    }

    fn slice(
        &self,
        path: &Path,
        content: Digest,
        header: &SliceHeader,
    ) -> Result<FileFacts, ProbeError> {
        if header.sop_class == MEDIA_DIRECTORY {
            return Err(ProbeError::Foreign(Stranger::FOREIGN));
        }
        if header.study_uid.is_empty() {
            return Err(self.broken(path, RejectCode::CorruptFile, content, None));
        }
        let study = (self.key_of)(&header.study_uid);
        let part = Part::Slice(slice_facts(header, content));
        Ok(FileFacts { study, content, part })
    }
}

fn stranger_by_name(name: &std::ffi::OsStr) -> Option<&'static str> {
    if names::archive(name) {
        return Some(Stranger::ARCHIVE);
    }
    names::foreign(name).then_some(Stranger::FOREIGN)
}

/// The mark behind the preamble. A DICOMDIR has it too, and is known by its class.
fn begins_as_dicom(mut file: &File) -> bool {
    let mut begin = [0; 132];
    let read = file.read_exact(&mut begin).is_ok();
    let rewound = file.rewind().is_ok();
    read && rewound && begin.ends_with(b"DICM")
}

fn size_digest(stamp: Stamp) -> Digest {
    Digest::of(&stamp.bytes.to_le_bytes())
}

/// Opens a regular file for reading, no link and no pipe.
///
/// # Errors
/// What open(2) says; anything but a regular file is `InvalidInput`.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// `None` if all bytes are there, and as many as the header says.
fn whole_nifti(file: &mut File, facts: &Facts, bytes: u64) -> io::Result<Option<RejectCode>> {
    if !facts.gzipped {
        return Ok((bytes < facts.unpacked_bytes).then_some(RejectCode::TruncatedFile));
    }
    let most = facts.unpacked_bytes.saturating_add(NIFTI_PADDING_BYTES + 1);
    let mut inflated = MultiGzDecoder::new(file).take(most);
    Ok(match io::copy(&mut inflated, &mut io::sink()) {
        Ok(count) if count == most => Some(RejectCode::CorruptFile),
        Ok(count) if count < facts.unpacked_bytes => Some(RejectCode::TruncatedFile),
        Ok(_) => None,
        Err(e) => match e.kind() {
            io::ErrorKind::UnexpectedEof => Some(RejectCode::TruncatedFile),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                Some(RejectCode::CorruptFile)
            }
            _ => return Err(e),
        },
    })
}

fn slice_facts(header: &SliceHeader, content: Digest) -> SliceFacts {
    let instance =
        if header.sop_uid.is_empty() { content } else { Digest::of(header.sop_uid.as_bytes()) };
    let text = |text: &Option<String>| -> String {
        text.as_deref().unwrap_or_default().trim_end().chars().take(256).collect()
    };
    SliceFacts {
        series: Digest::of(header.series_uid.as_bytes()),
        instance,
        set_aside: set_aside(header),
        description: text(&header.series_description),
        protocol: text(&header.protocol_name),
        contrast: has_contrast(header.contrast_agent.as_deref()),
        acquired_ms: acquired_ms(header),
        position_mm: position_mm(header),
        recon: recon::of(header),
    }
}

/// Why an object can never be part of a phase.
fn set_aside(header: &SliceHeader) -> Option<RejectCode> {
    if let Err(error) = header.require_ct() {
        return Some(of_dicom(&error));
    }
    if !header.modality.is_empty() && header.modality != "CT" {
        return Some(RejectCode::NotCt);
    }
    let words: Vec<String> = header
        .image_type
        .iter()
        .flat_map(|part| part.split([' ', '_']))
        .map(str::to_uppercase)
        .collect();
    let says = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    if says(&["LOCALIZER", "LOCALISER", "SCOUT", "TOPOGRAM", "SURVIEW"]) {
        return Some(RejectCode::Localiser);
    }
    if says(&["SCREEN", "DOSE", "PASTED"]) {
        return Some(RejectCode::NotCt);
    }
    if says(&["REFORMATTED", "MPR", "MIP", "MINIP", "PROJECTION", "VRT", "SSD", "3D"]) {
        return Some(RejectCode::Reformatted);
    }
    if is_map(header) {
        return Some(RejectCode::DerivedMap);
    }
    // Beyond 37 degrees from the patient's axis: further than any gantry tilts.
    let is_axial = normal(header).is_none_or(|[_, _, z]| z.abs() > 0.8);
    (!is_axial).then_some(RejectCode::NotAxial)
}

fn has_contrast(agent: Option<&str>) -> bool {
    let agent = agent.unwrap_or_default().trim().to_lowercase();
    let none = ["", "no", "none", "n", "without", "ohne", "oral", "nein"];
    !none.contains(&agent.as_str())
}

fn normal(header: &SliceHeader) -> Option<[f64; 3]> {
    let [ax, ay, az, bx, by, bz] = header.image_orientation?;
    Some([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
}

/// Where a slice lies along its normal.
pub fn position_mm(header: &SliceHeader) -> Option<f64> {
    let ([x, y, z], [p, q, r]) = (header.image_position_mm?, normal(header)?);
    Some(x * p + y * q + z * r)
}

/// The time of the exposure where it is said, else of the image, else of the series.
fn acquired_ms(header: &SliceHeader) -> Option<i64> {
    let pair = |date: &Option<String>, time: &Option<String>| {
        Some(format!("{}{}", date.as_deref()?, time.as_deref()?))
    };
    let said = [
        header.acquisition_date_time.clone(),
        pair(&header.acquisition_date, &header.acquisition_time),
        pair(&header.content_date, &header.content_time),
        pair(&header.series_date, &header.series_time),
    ];
    said.into_iter().flatten().find_map(|text| civil_ms(&text))
}

/// `YYYYMMDDhhmmss.ffffff`, the seconds or their fraction may be absent.
fn civil_ms(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let part = |from: usize| number(from, from + 2).and_then(|n| i8::try_from(n).ok());
    let second = part(12).unwrap_or(0);
    let nanos = text.get(14..).and_then(|rest| rest.strip_prefix('.')).map_or(0, |digits| {
        let digits: String = digits.chars().take_while(char::is_ascii_digit).take(9).collect();
        format!("{digits:0<9}").parse::<i32>().unwrap_or(0)
    });
    let (year, month, day) = (number(0, 4)?, part(4)?, part(6)?);
    let time =
        jiff::civil::DateTime::new(year, month, day, part(8)?, part(10)?, second.min(59), nanos);
    let zoned = time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}
