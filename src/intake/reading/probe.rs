//! Reads one file: what it is, whose, and whether it is whole.
//!
//! Owns the step from bytes to [`FileFacts`]. Refuses links and special files, and reads no
//! more than the limits allow. Free text of a header stays within intake.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::gate::{Refusal, refusal_of};
use crate::intake::events::Broken;
use crate::intake::facts::{FileFacts, Part, SliceFacts};
use crate::intake::fingerprint::{Digest, digest_of, images_digest, patient_key};
use crate::intake::folder::listing::Stamp;
use crate::intake::folder::names::{self, NiftiName};
use crate::intake::folder::stranger_kind::StrangerKind;
use crate::intake::folder::strangers::top_folder;
use crate::intake::refusal_codes::RefusalCode;
use crate::intake::study::phases::recon;
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::dicom::acquisitions::Marks;
use hepalert_voxels::volume::dicom::read::{SliceHeader, check_whole, read_header, read_headers};
use hepalert_voxels::volume::dicom::{DicomError, begins_as_dicom};
use hepalert_voxels::volume::nifti::NiftiError;
use hepalert_voxels::volume::nifti::read::{Facts, peek, unpacked_bytes};

/// Makes a key of a study UID.
pub(crate) type KeyOf<'a> = &'a (dyn Fn(&str) -> StudyKey + Sync);

/// A DICOM object larger than this is not held in memory to look at it: a CT slice of
/// 4096 x 4096 has 32 MiB.
const MAX_SLICE_BYTES: u64 = 64 << 20;

/// Enough for the header of a NIfTI file, gzipped or not.
const NIFTI_PREFIX_BYTES: u64 = 64 << 10;

/// Bytes that may follow the voxels of a NIfTI file.
const NIFTI_PADDING_BYTES: u64 = 64 << 10;

/// The SOP class of a DICOMDIR.
const MEDIA_DIRECTORY: &str = "1.2.840.10008.1.3.10";

/// What is asked of a file.
#[derive(Clone, Copy)]
pub(crate) struct Probe<'a> {
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
pub(crate) enum ProbeError {
    /// The file changed, or went away, while it was read.
    Changed,
    /// Not an image, and no promise of one: which kind of stranger.
    Foreign(StrangerKind),
    /// It should be an image and cannot be used.
    Broken(Broken),
}

impl Probe<'_> {
    /// Whose study a file is by its name alone.
    pub(crate) fn study_by_name(&self, path: &Path) -> Option<StudyKey> {
        let name = names::nifti_name(path.file_name()?)?;
        Some(self.nifti_key(path, &name))
    }

    /// Under which key a path is told that belongs to no study: that of the folder of the
    /// export that it lies in, so that all strangers there are one event.
    pub(crate) fn alone(&self, path: &Path) -> StudyKey {
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
    pub(crate) fn read(&self, path: &Path, stamp: Stamp) -> Result<FileFacts, ProbeError> {
        match self.try_read(path, stamp) {
            Ok(facts) => facts,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ProbeError::Changed),
            // What is there is unknown: the stamp stands for it.
            Err(_) => {
                let content = Digest::of(format!("{stamp:?}").as_bytes());
                let refusal = Refusal::new(RefusalCode::Unreadable, "it cannot be read", 1);
                Err(self.broken(path, refusal, content, None))
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
            let detail = format!("a file of {} bytes", stamp.bytes);
            let refusal = Refusal::new(RefusalCode::AbsurdSize, detail, 1);
            Err(self.broken(path, refusal, size_digest(stamp), None))
        } else if let Some(name) = names::nifti_name(name) {
            self.nifti(path, &mut file, stamp, name)?
        } else if let Some(kind) = stranger_by_name(name)
            && (names::directory(name) || !is_dicom(&file))
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
        refusal: Refusal,
        content: Digest,
        of: Option<(StudyKey, Option<Digest>)>,
    ) -> ProbeError {
        let Refusal { code, detail: said, .. } = refusal;
        let (study, series) = of.map_or((None, None), |(study, series)| (Some(study), series));
        let alone = self.alone(path);
        ProbeError::Broken(Broken { code, said, content, study, series, alone })
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
        let refuse = |error: NiftiError| {
            Err(self.broken(path, error.into(), content, Some((study.clone(), None))))
        };
        let facts = match peek(&prefix) {
            Ok(facts) => facts,
            Err(error) => return Ok(refuse(error)),
        };
        file.rewind()?;
        Ok(match whole_nifti(file, &facts, stamp.bytes)? {
            None => Ok(FileFacts {
                study,
                content,
                images: None,
                person: None,
                part: Part::Nifti(name),
            }),
            Some(error) => refuse(error),
        })
    }

    fn dicom(&self, path: &Path, bytes: &[u8]) -> Result<FileFacts, ProbeError> {
        let content = Digest::of(bytes);
        let header = match read_header(bytes) {
            Ok(header) => header,
            Err(DicomError::NotDicom) => return Err(self.no_dicom(path, bytes, content)),
            Err(error) => return Err(self.broken(path, error.into(), content, None)),
        };
        let facts = self.object(path, content, &header, bytes)?;
        let is_image = facts.part.slices().iter().any(|slice| slice.refused.is_none());
        let whole = if is_image { check_whole(bytes, &header) } else { Ok(()) };
        match whole {
            Err(error @ DicomError::Truncated) => {
                let series = facts.part.slices().first().map(|slice| slice.series);
                Err(self.broken(path, error.into(), content, Some((facts.study, series))))
            }
            // A fault of the pixels is named when loading.
            Ok(()) | Err(_) => {
                let images = if is_image { images_digest(bytes) } else { None };
                Ok(FileFacts { images, ..facts })
            }
        }
    }

    /// Neither DICOM nor NIfTI: a stranger, or something that was meant as an image.
    fn no_dicom(&self, path: &Path, bytes: &[u8], content: Digest) -> ProbeError {
        if let Some(kind) = stranger_by_content(path, bytes) {
            return ProbeError::Foreign(kind);
        }
        let refusal = if bytes.is_empty() {
            Refusal::new(RefusalCode::TruncatedFile, "the file is empty", 1)
        } else if is_nifti_pair(path, bytes) {
            NiftiError::HeaderPair.into()
        } else {
            DicomError::NotDicom.into()
        };
        self.broken(path, refusal, content, None)
    }

    /// Too large for a slice: a series in frames, or an object that is set aside by its class.
    fn large_dicom(
        &self,
        path: &Path,
        file: &mut File,
    ) -> io::Result<Result<FileFacts, ProbeError>> {
        let mut prefix = Vec::new();
        (&mut *file).take(MAX_SLICE_BYTES).read_to_end(&mut prefix)?;
        file.rewind()?;
        let content = digest_of(&mut *file)?;
        let absurd = || Refusal::new(RefusalCode::AbsurdSize, "a slice of over 64 MiB", 1);
        let header = match read_header(&prefix) {
            Ok(header) => header,
            Err(DicomError::NotDicom) => {
                return Ok(Err(self.no_dicom(path, &prefix, content)));
            }
            Err(_) => return Ok(Err(self.broken(path, absurd(), content, None))),
        };
        let facts = match self.object(path, content, &header, &prefix) {
            Ok(facts) => facts,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match &facts.part {
            Part::Slice(slice) if slice.refused.is_none() => {
                Err(self.broken(path, absurd(), content, Some((facts.study, Some(slice.series)))))
            }
            Part::Slice(_) | Part::Frames(_) | Part::Nifti(_) => Ok(facts),
        })
    }

    fn object(
        &self,
        path: &Path,
        content: Digest,
        header: &SliceHeader,
        bytes: &[u8],
    ) -> Result<FileFacts, ProbeError> {
        if header.sop_class == MEDIA_DIRECTORY {
            return Err(ProbeError::Foreign(StrangerKind::Foreign));
        }
        if header.study_uid.is_empty() {
            let refusal = DicomError::MissingAttribute("StudyInstanceUID").into();
            return Err(self.broken(path, refusal, content, None));
        }
        let study = (self.key_of)(&header.study_uid);
        let frames = if header.is_enhanced() { read_headers(bytes).ok() } else { None };
        let part = match frames {
            Some(frames) => {
                Part::Frames(frames.iter().map(|frame| slice_facts(frame, content)).collect())
            }
            None => Part::Slice(slice_facts(header, content)),
        };
        let person = patient_key(&header.identifiers, self.key_of);
        Ok(FileFacts { study, content, images: None, person, part })
    }
}

fn stranger_by_name(name: &std::ffi::OsStr) -> Option<StrangerKind> {
    if names::archive(name) {
        return Some(StrangerKind::Archive);
    }
    names::foreign(name).then_some(StrangerKind::Foreign)
}

/// What a file is that is no image, by what it begins with; `None` if it may have been meant
/// as one.
pub(in crate::intake) fn stranger_by_content(path: &Path, bytes: &[u8]) -> Option<StrangerKind> {
    const PICTURES: [&[u8]; 6] = [b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*"];
    const ARCHIVES: [&[u8]; 6] =
        [b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh"];
    const OTHERS: [&[u8]; 5] = [b"MZ", b"\x7fELF", b"\xca\xfe\xba\xbe", b"%PDF", b"<?xml"];
    // Of the names that [`names::foreign`] does not know.
    const CHECKSUMS: [&str; 3] = [".sfv", ".crc", "sums"];
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let begins = |marks: &[&[u8]]| marks.iter().any(|mark| bytes.starts_with(mark));
    if begins(&ARCHIVES) || bytes.get(257..262) == Some(b"ustar") {
        return Some(StrangerKind::Archive);
    }
    let is_known =
        begins(&PICTURES) || begins(&OTHERS) || CHECKSUMS.iter().any(|end| name.ends_with(end));
    is_known.then_some(StrangerKind::Foreign)
}

/// One half of a NIfTI or Analyze pair: the header says so, the other half has its name.
fn is_nifti_pair(path: &Path, bytes: &[u8]) -> bool {
    let ends = |end: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(end));
    let begins =
        bytes.starts_with(&348_i32.to_le_bytes()) || bytes.starts_with(&348_i32.to_be_bytes());
    begins || ends("hdr") || (ends("img") && path.with_extension("hdr").exists())
}

/// A DICOMDIR begins so too, and is known by its class.
fn is_dicom(mut file: &File) -> bool {
    let mut begin = [0; 132];
    let read = file.read_exact(&mut begin).is_ok();
    let rewound = file.rewind().is_ok();
    read && rewound && begins_as_dicom(&begin)
}

fn size_digest(stamp: Stamp) -> Digest {
    Digest::of(&stamp.bytes.to_le_bytes())
}

/// Opens a regular file for reading, no link and no pipe.
///
/// # Errors
/// What open(2) says; anything but a regular file is `InvalidInput`.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// `None` if all bytes are there, and as many as the header says.
fn whole_nifti(file: &mut File, facts: &Facts, bytes: u64) -> io::Result<Option<NiftiError>> {
    if !facts.gzipped {
        return Ok((bytes < facts.unpacked_bytes).then_some(NiftiError::Truncated));
    }
    let most = facts.unpacked_bytes.saturating_add(NIFTI_PADDING_BYTES + 1);
    Ok(match unpacked_bytes(BufReader::new(file), most) {
        Ok(count) if count == most => Some(NiftiError::TrailingData),
        Ok(count) if count < facts.unpacked_bytes => Some(NiftiError::Truncated),
        Ok(_) => None,
        Err(error) => Some(error),
    })
}

fn slice_facts(header: &SliceHeader, content: Digest) -> SliceFacts {
    let instance =
        if header.sop_uid.is_empty() { content } else { Digest::of(header.sop_uid.as_bytes()) };
    let text = |text: &Option<String>| -> String {
        text.as_deref().unwrap_or_default().trim_end().chars().take(256).collect()
    };
    let refused = refusal_of(header);
    SliceFacts {
        series: Digest::of(header.series_uid.as_bytes()),
        instance: match header.frame {
            Some(frame) => Digest::of(format!("{} frame {frame}", header.sop_uid).as_bytes()),
            None => instance,
        },
        patient: patient(header),
        refused: refused.as_ref().map(|refusal| refusal.code),
        description: text(&header.series_description),
        protocol: text(&header.protocol_name),
        contrast: has_contrast(header.contrast_agent.as_deref()),
        acquired_ms: acquired_ms(header),
        position_mm: header.position_mm(),
        marks: Marks::of(header),
        recon: recon::of(header),
        said: refused.map(|refusal| refusal.detail),
    }
}

fn patient(header: &SliceHeader) -> Option<Digest> {
    let id = header.identifiers.patient_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
    id.map(|id| Digest::of(id.as_bytes()))
}

fn has_contrast(agent: Option<&str>) -> bool {
    let agent = agent.unwrap_or_default().trim().to_lowercase();
    let none = ["", "no", "none", "n", "without", "ohne", "oral", "nein"];
    !none.contains(&agent.as_str())
}

/// The time of the exposure where it is said, else of the image, else of the series.
pub(in crate::intake) fn acquired_ms(header: &SliceHeader) -> Option<i64> {
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
