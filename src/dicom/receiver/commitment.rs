//! Storage commitment: which of these objects are here.
//!
//! Owns the request's data set and the report on it. This device is no archive: what it says of an
//! object holds as long as the object lies in the spool, and what was cleaned away is told as missing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use serde::{Deserialize, Serialize};

use super::super::services::status;
use super::spool::received;
use hepalert_voxels::volume::dicom::is_uid;
use hepalert_voxels::volume::dicom::read::references;

/// The meta group of our own files is within this.
const META_BYTES: u64 = 1024;
/// All are here.
const ALL_HERE: u16 = 1;
/// Some are not.
const SOME_MISSING: u16 = 2;

/// A request.
#[derive(Serialize, Deserialize)]
pub(super) struct Asked {
    transaction: String,
    /// Class and instance.
    objects: Vec<(String, String)>,
}

impl Asked {
    /// Reads a request; `None` if it is none.
    pub(super) fn read(bytes: &[u8], syntax: &str) -> Option<Asked> {
        let explicit = syntax == uids::EXPLICIT_VR_LITTLE_ENDIAN;
        let (transaction, objects) = references(bytes, explicit)?;
        let all_are = objects.iter().all(|(class, uid)| is_uid(class) && is_uid(uid));
        (is_uid(&transaction) && all_are).then_some(Asked { transaction, objects })
    }

    /// The event, and its data set.
    pub(super) fn report(&self, spool: &Path, syntax: &str) -> (u16, Vec<u8>) {
        let here = here(spool);
        let (found, missing): (Vec<_>, Vec<_>) =
            self.objects.iter().partition(|(class, uid)| here.get(uid) == Some(class));
        let item = |(class, uid): &(String, String)| {
            let text =
                |tag, value: &str| DataElement::new(tag, VR::UI, PrimitiveValue::from(value));
            InMemDicomObject::from_element_iter([
                text(tags::REFERENCED_SOP_CLASS_UID, class),
                text(tags::REFERENCED_SOP_INSTANCE_UID, uid),
            ])
        };
        let mut report = InMemDicomObject::new_empty();
        let transaction = PrimitiveValue::from(self.transaction.as_str());
        report.put(DataElement::new(tags::TRANSACTION_UID, VR::UI, transaction));
        let mut put = |tag, items: Vec<InMemDicomObject>| {
            if !items.is_empty() {
                report.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
            }
        };
        put(tags::REFERENCED_SOP_SEQUENCE, found.into_iter().map(item).collect());
        let failed = missing.iter().map(|object| {
            let mut item = item(object);
            let reason = match here.contains_key(&object.1) {
                true => status::CLASS_INSTANCE_CONFLICT,
                false => status::NO_SUCH_INSTANCE,
            };
            let reason = PrimitiveValue::from(reason);
            item.put(DataElement::new(tags::FAILURE_REASON, VR::US, reason));
            item
        });
        put(tags::FAILED_SOP_SEQUENCE, failed.collect());
        let event = if missing.is_empty() { ALL_HERE } else { SOME_MISSING };
        let mut bytes = Vec::new();
        let written = TransferSyntaxRegistry
            .get(syntax)
            .map(|syntax| report.write_dataset_with_ts(&mut bytes, syntax));
        debug_assert!(matches!(written, Some(Ok(()))), "both syntaxes are known");
        (event, bytes)
    }
}

/// What lies in the spool, from its files' own meta groups: SOP classes by instance.
fn here(spool: &Path) -> BTreeMap<String, String> {
    received(spool).filter_map(|file| instance_of(&file)).collect()
}

fn instance_of(path: &Path) -> Option<(String, String)> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(META_BYTES).read_to_end(&mut head).ok()?;
    let [class, instance] = [2, 3].map(|element| uid_in(&head, element));
    Some((instance?, class?))
}

/// The UID of element (0002,`element`): group, element, VR, length, value.
fn uid_in(head: &[u8], element: u8) -> Option<String> {
    let mark = [2, 0, element, 0, b'U', b'I'];
    let at = head.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let length = u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?);
    let value = head.get(at + 2..at + 2 + usize::from(length))?;
    Some(std::str::from_utf8(value).ok()?.trim_end_matches('\0').to_owned())
}
