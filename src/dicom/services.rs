//! What is spoken: SOP classes, transfer syntaxes, statuses. The conformance statement is written from
//! these tables, and the receiver and the sender go by them.

use dicom_dictionary_std::uids;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use dicom_ul::pdu::UserVariableItem;

use super::wire::MAX_PDU;

/// PS3.7 annex A.
pub const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Ours: under the root of the program's own UIDs, always the same.
pub const IMPLEMENTATION_CLASS: &str = "2.25.148009262471925364813467892025413276801";
/// Told to every peer.
pub const IMPLEMENTATION_NAME: &str = "HEPALERT";
/// The well-known instance of storage commitment.
pub const COMMITMENT_INSTANCE: &str = "1.2.840.10008.1.20.1.1";

/// What the receiver stores: what the reader reads.
pub const RECEIVED: [(&str, &str); 3] = [
    (uids::CT_IMAGE_STORAGE, "CT Image Storage"),
    (uids::ENHANCED_CT_IMAGE_STORAGE, "Enhanced CT Image Storage"),
    (
        uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE,
        "Legacy Converted Enhanced CT Image Storage",
    ),
];

/// What the receiver does besides.
pub const ANSWERED: [(&str, &str); 2] = [
    (uids::VERIFICATION, "Verification"),
    (uids::STORAGE_COMMITMENT_PUSH_MODEL, "Storage Commitment Push Model"),
];

/// The key that switches the second of these off.
pub const COMMITMENT_KEY: &str = "dicom.storage_commitment";

/// What the sender sends.
pub const SENT: [(&str, &str); 4] = [
    (uids::SEGMENTATION_STORAGE, "Segmentation Storage"),
    (uids::COMPREHENSIVE3_DSR_STORAGE, "Comprehensive 3D SR Storage"),
    (uids::SECONDARY_CAPTURE_IMAGE_STORAGE, "Secondary Capture Image Storage"),
    (uids::ENCAPSULATED_PDF_STORAGE, "Encapsulated PDF Storage"),
];

/// What the sender writes data sets in, the first if the peer takes it.
pub const SENT_SYNTAXES: [(&str, &str); 2] = [
    (uids::EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian"),
    (uids::IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian"),
];

/// What data sets of the receiver's may be written in: all that the reader decodes, and no other.
pub use hepalert_voxels::volume::dicom::READABLE_SYNTAXES as RECEIVED_SYNTAXES;

/// Statuses that are told (PS3.4 section GG, PS3.7 annex C).
pub mod status {
    /// The peer has done what was asked.
    pub const SUCCESS: u16 = 0x0000;
    /// The disk is full, or the object too large.
    pub const OUT_OF_RESOURCES: u16 = 0xa700;
    /// The data set is not of the class that it was announced as.
    pub const NOT_THE_CLASS: u16 = 0xa900;
    /// The data set cannot be read.
    pub const NOT_UNDERSTOOD: u16 = 0xc000;
    /// The UID is none.
    pub const INVALID_INSTANCE: u16 = 0x0117;
    /// There is no such operation here.
    pub const UNKNOWN_OPERATION: u16 = 0x0211;
    /// The disk fails.
    pub const PROCESSING_FAILURE: u16 = 0x0110;
    /// Of storage commitment: it is not here.
    pub const NO_SUCH_INSTANCE: u16 = 0x0112;
    /// Of storage commitment: it is here as another class.
    pub const CLASS_INSTANCE_CONFLICT: u16 = 0x0119;
}

/// What is told to every peer of this program, by whoever asks and by whoever answers.
pub(super) fn user_variables() -> Vec<UserVariableItem> {
    vec![
        UserVariableItem::MaxLength(MAX_PDU),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_NAME.to_owned()),
    ]
}

/// The largest PDU that a peer takes; none if it says none, or that there is no limit.
pub(super) fn largest_pdu(told: &[UserVariableItem]) -> Option<u32> {
    told.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(most) if *most > 0 => Some(*most),
        _ => None,
    })
}

/// The tables of a conformance statement (PS3.2), in Markdown.
pub fn conformance() -> String {
    let mut text = String::new();
    let mut services = |title: &str, rows: &[(&str, &str)], role: &str| {
        text += &format!("### {title}\n\n| SOP class | UID | role |\n|---|---|---|\n");
        for (uid, name) in rows {
            text += &format!("| {name} | `{uid}` | {role} |\n");
        }
        text += "\n";
    };
    services("Associations that are accepted: storage", &RECEIVED, "SCP");
    services("Associations that are accepted: other services", &ANSWERED[..1], "SCP");
    services(
        &format!("Associations that are accepted: unless `{COMMITMENT_KEY} = false`"),
        &ANSWERED[1..],
        "SCP",
    );
    services("Associations that are asked for: storage", &SENT, "SCU");
    services("Associations that are asked for: other services", &ANSWERED[..1], "SCU");
    services(
        "Associations that are asked for: reports to those who hung up before they had them",
        &ANSWERED[1..],
        "SCP, by role selection",
    );
    text += "### Transfer syntaxes of stored images\n\n| transfer syntax | UID |\n|---|---|\n";
    for uid in RECEIVED_SYNTAXES {
        let name = TransferSyntaxRegistry.get(uid).map_or("", |syntax| syntax.name());
        text += &format!("| {name} | `{uid}` |\n");
    }
    text += "\nOf those that a peer offers the first of these is taken. All else that is accepted or asked \
             for is in:\n\n| transfer syntax | UID |\n|---|---|\n";
    for (uid, name) in SENT_SYNTAXES {
        text += &format!("| {name} | `{uid}` |\n");
    }
    text += &format!(
        "\n### Association\n\n| | |\n|---|---|\n| application context | `{APPLICATION_CONTEXT}` |\n\
         | implementation class | `{IMPLEMENTATION_CLASS}` |\n| implementation version | \
         `{IMPLEMENTATION_NAME}` |\n| largest PDU received | {MAX_PDU} bytes |\n\n"
    );
    text += "### Statuses answered to C-STORE\n\n| status | meaning |\n|---|---|\n";
    for (status, meaning) in STATUSES {
        text += &format!("| `{status:#06x}` | {meaning} |\n");
    }
    text += "\n### Not done\n\n| service | instead |\n|---|---|\n";
    for (service, instead) in NOT_DONE {
        text += &format!("| {service} | {instead} |\n");
    }
    text
}

/// What a reader of the statement may look for, and will not find.
const NOT_DONE: [(&str, &str); 8] = [
    (
        "Query and retrieve (C-FIND, C-MOVE, C-GET, WADO-RS)",
        "images are sent to the device; of earlier studies it knows those that it has analysed",
    ),
    (
        "Storage commitment of what the device sends",
        "an object counts as kept once the archive has answered it with success",
    ),
    (
        "Storage of anything but CT images",
        "the context is refused, and the others of its association are not",
    ),
    ("Modality worklist, procedure steps (MPPS, UPS), instance availability", "none"),
    (
        "Rejection notes (IHE IOCM), deletion in archives",
        "a later revision names the report that it replaces",
    ),
    ("Extended negotiation, user identity, asynchronous operations", "none is offered or accepted"),
    (
        "Several objects on one association that the device asks for",
        "one association for each object",
    ),
    ("Media (DICOMDIR)", "none is read or written"),
];

/// What a status of ours says.
pub const STATUSES: [(u16, &str); 7] = [
    (status::SUCCESS, "the object is whole, and on the disk"),
    (
        status::OUT_OF_RESOURCES,
        "the disk is full, or the object larger than `dicom.max_instance_mib`",
    ),
    (status::NOT_THE_CLASS, "the class is not that of the presentation context"),
    (
        status::NOT_UNDERSTOOD,
        "the data set cannot be read, names no study, is not what the command names, or is in another syntax than \
         agreed; or its pixels are not whole, or larger than any CT",
    ),
    (status::INVALID_INSTANCE, "the SOP Instance UID is no UID"),
    (status::UNKNOWN_OPERATION, "another command than C-STORE, C-ECHO or N-ACTION of commitment"),
    (status::PROCESSING_FAILURE, "the disk fails"),
];

/// Whether a text is an AE title: 1 to 16 printable characters without a backslash, not all blank.
pub fn is_ae_title(text: &str) -> bool {
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\');
    plain && !text.trim().is_empty() && text.len() <= 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use hepalert_voxels::volume::dicom::is_uid;

    #[test]
    fn a_uid_is_digits_and_points_and_nothing_else() {
        assert!(is_uid("1.2.840.10008.1.1") && is_uid("2"));
        for stranger in ["", "1..2", ".1", "1.", "../1.2", "1.2/3", "1.2\0", "a", &"1".repeat(65)] {
            assert!(!is_uid(stranger), "{stranger}");
        }
        assert!(is_uid(IMPLEMENTATION_CLASS));
    }

    #[test]
    fn titles_are_short_and_printable() {
        assert!(is_ae_title("HEPALERT") && is_ae_title("CT 1"));
        for stranger in ["", "  ", "SEVENTEEN_LETTERS", "A\\B", "Ä"] {
            assert!(!is_ae_title(stranger), "{stranger}");
        }
    }
}
