//! One association from its request to its end.
//!
//! Owns the order of command and data set, and what each is answered. Success is answered only when the
//! object lies in the spool; a data set that is refused is read to its end all the same, so that the
//! peer hears why.

use std::io;

use dicom_dictionary_std::uids;
use dicom_ul::pdu::{AbortRQSource, PDataValue, PDataValueType, Pdu};
use log::{info, warn};

use super::super::dimse::{Command, MAX_COMMAND_BYTES, NO_DATA_SET, element, field};
use super::super::scu::event_report;
use super::super::services::{
    IMPLEMENTATION_CLASS, IMPLEMENTATION_NAME, RECEIVED, largest_pdu, status,
};
use super::super::wire::{USUAL_PDU, VALUE_HEADS, Wire, WireError};
use super::negotiation::{self, Contexts};
use super::owed_reports::Note;
use super::spool::{Batch, Draft};
use super::{House, commitment};
use hepalert_voxels::volume::dicom::read::{check_whole, read_header};
use hepalert_voxels::volume::dicom::{DicomError, is_uid};

/// References of a request for commitment: a study of 20 000 slices has 3 MiB.
const MAX_ACTION_BYTES: usize = 8 << 20;
/// Where a file of ours says how long its meta group is.
const META_LENGTH: usize = 140;
/// Retired, and still sent.
const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
/// Reports that one peer leaves unanswered: scanners ask once a study.
const MAX_OWED: usize = 16;
/// Larger objects are not read back to see whether their pixels are whole: the intake does.
const MAX_CHECKED_BYTES: u64 = 64 << 20;

/// Serves a peer until it has ended.
pub(super) fn run(house: &House, wire: &mut Wire, full: bool) -> Result<(), WireError> {
    let asked = match wire.receive()? {
        Pdu::AssociationRQ(asked) => asked,
        Pdu::AbortRQ { .. } => return Ok(()),
        _ => return abort(wire, "no association was asked for"),
    };
    let (accepted, contexts) = match negotiation::answer(&house.params, &asked, full) {
        Ok(answered) => answered,
        Err(refused) => {
            warn!("{}: association refused: {}", wire.peer(), refused.source);
            return wire.send(&Pdu::AssociationRJ(refused));
        }
    };
    // Commands fit anywhere, and reports are small: a peer that takes more is not sent more.
    let peer_max = largest_pdu(&asked.user_variables).unwrap_or(USUAL_PDU).clamp(4096, USUAL_PDU);
    wire.send(&Pdu::AssociationAC(accepted))?;
    let mut talk = Talk {
        house,
        title: asked.calling_ae_title.trim(),
        contexts,
        peer_max,
        batch: house.spool.batch(),
        command: Vec::new(),
        pending: None,
        owed: Vec::new(),
        stored: 0,
        refused: 0,
    };
    let outcome = talk.run(wire);
    house.reports.owe(&house.params.peers, talk.title, talk.owed);
    if talk.stored + talk.refused > 0 {
        info!("{}: {} objects received, {} refused", wire.peer(), talk.stored, talk.refused);
    }
    outcome
}

fn abort(wire: &mut Wire, why: &str) -> Result<(), WireError> {
    // The peer may be gone already.
    let _ = wire.send(&Pdu::AbortRQ { source: AbortRQSource::ServiceUser });
    Err(WireError::Nonsense(why.to_owned()))
}

/// What a data set is for that is under way.
enum Pending {
    Store(Box<Draft>),
    Commit(Vec<u8>),
    /// It is read to its end and then answered so.
    Refuse(u16),
}

struct Talk<'a> {
    house: &'a House,
    /// What the peer calls itself.
    title: &'a str,
    contexts: Contexts,
    peer_max: u32,
    batch: Batch<'a>,
    command: Vec<u8>,
    pending: Option<(u8, Command, Pending)>,
    /// Reports on storage commitment that the peer has not yet said to have heard, in order.
    owed: Vec<Note>,
    stored: u32,
    refused: u32,
}

impl Talk<'_> {
    fn run(&mut self, wire: &mut Wire) -> Result<(), WireError> {
        loop {
            match wire.receive()? {
                Pdu::PData { data } => {
                    for value in data {
                        self.take(wire, value)?;
                    }
                }
                Pdu::ReleaseRQ => return wire.send(&Pdu::ReleaseRP),
                Pdu::AbortRQ { .. } => return Ok(()),
                _ => return abort(wire, "a PDU that does not belong into an association"),
            }
        }
    }

    fn take(&mut self, wire: &mut Wire, value: PDataValue) -> Result<(), WireError> {
        let PDataValue { presentation_context_id: context, value_type, is_last, data } = value;
        match value_type {
            PDataValueType::Command if self.pending.is_some() => {
                abort(wire, "a command within a data set")
            }
            PDataValueType::Command => {
                if self.command.len() + data.len() > MAX_COMMAND_BYTES {
                    return abort(wire, "a command without end");
                }
                self.command.extend(data);
                if !is_last {
                    return Ok(());
                }
                let bytes = std::mem::take(&mut self.command);
                match Command::read(&bytes) {
                    Some(command) => self.begin(wire, context, command),
                    None => abort(wire, "what should be a command is none"),
                }
            }
            PDataValueType::Data => {
                let Some((expected, ..)) = &self.pending else {
                    return abort(wire, "a data set without a command");
                };
                if *expected != context {
                    return abort(wire, "a data set under another context than its command");
                }
                self.add(&data);
                if is_last { self.finish(wire) } else { Ok(()) }
            }
        }
    }

    /// Answers a command, or begins what its data set is for.
    fn begin(&mut self, wire: &mut Wire, context: u8, command: Command) -> Result<(), WireError> {
        let asked = command.number(element::COMMAND_FIELD).unwrap_or_default();
        let has_data = command.number(element::DATA_SET_TYPE) != Some(NO_DATA_SET);
        let Some(agreed) = self.contexts.get(&context).cloned() else {
            return abort(wire, "a context that was not agreed on");
        };
        let pending = match (asked, has_data) {
            (field::C_ECHO, false) => {
                return self.answer(wire, context, &command.answer(status::SUCCESS));
            }
            (field::N_EVENT_REPORT_ANSWERED, false) => {
                if command.number(element::STATUS) == Some(status::SUCCESS) && !self.owed.is_empty()
                {
                    self.owed.remove(0).forget();
                }
                return Ok(());
            }
            // Answers to what we said, and what cannot be cancelled any more.
            (asked, false) if asked & field::ANSWER != 0 || asked == 0x0fff => return Ok(()),
            (field::C_STORE, true) => self.begin_store(&command, &agreed),
            (field::N_ACTION, true) if agreed.class == uids::STORAGE_COMMITMENT_PUSH_MODEL => {
                Pending::Commit(Vec::new())
            }
            (_, true) => Pending::Refuse(status::UNKNOWN_OPERATION),
            (_, false) => {
                return self.answer(wire, context, &command.answer(status::UNKNOWN_OPERATION));
            }
        };
        self.pending = Some((context, command, pending));
        Ok(())
    }

    fn begin_store(&mut self, command: &Command, agreed: &negotiation::Context) -> Pending {
        let class = command.uid(element::AFFECTED_SOP_CLASS_UID).unwrap_or_default();
        let instance = command.uid(element::AFFECTED_SOP_INSTANCE_UID).unwrap_or_default();
        if class != agreed.class || !RECEIVED.iter().any(|(uid, _)| *uid == class) {
            return Pending::Refuse(status::NOT_THE_CLASS);
        }
        if !is_uid(instance) {
            warn!("an object whose SOP Instance UID is no UID is refused");
            return Pending::Refuse(status::INVALID_INSTANCE);
        }
        let params = &self.house.params;
        let free = crate::system::free_mib(&params.spool).map(|mib| mib << 20);
        if free.is_some_and(|free| free < params.min_free_bytes) {
            warn!("an object is refused: less than store.min_free_mib is free");
            return Pending::Refuse(status::OUT_OF_RESOURCES);
        }
        let begun = self.batch.begin().and_then(|mut draft| {
            draft.write(&head(class, instance, &agreed.syntax))?;
            Ok(draft)
        });
        match begun {
            Ok(draft) => Pending::Store(Box::new(draft)),
            Err(error) => Pending::Refuse(failed(&error)),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let Some((_, _, pending)) = &mut self.pending else { return };
        let refused = match pending {
            Pending::Store(draft) => {
                if draft.bytes + bytes.len() as u64 > self.house.params.max_instance_bytes {
                    warn!("an object is refused: larger than dicom.max_instance_mib");
                    Some(status::OUT_OF_RESOURCES)
                } else {
                    draft.write(bytes).err().map(|error| failed(&error))
                }
            }
            Pending::Commit(gathered) if gathered.len() + bytes.len() > MAX_ACTION_BYTES => {
                Some(status::OUT_OF_RESOURCES)
            }
            Pending::Commit(gathered) => {
                gathered.extend(bytes);
                None
            }
            Pending::Refuse(_) => None,
        };
        if let Some(status) = refused {
            // The draft goes, the rest is read to its end.
            *pending = Pending::Refuse(status);
        }
    }

    fn finish(&mut self, wire: &mut Wire) -> Result<(), WireError> {
        let Some((context, command, pending)) = self.pending.take() else { return Ok(()) };
        let status = match pending {
            Pending::Store(draft) => {
                let named = command.uid(element::AFFECTED_SOP_INSTANCE_UID).unwrap_or_default();
                let syntax =
                    self.contexts.get(&context).map_or("", |agreed| agreed.syntax.as_str());
                let syntax = syntax.to_owned();
                self.keep(*draft, named, &syntax)
            }
            Pending::Commit(asked) => return self.commit(wire, context, &command, &asked),
            Pending::Refuse(status) => status,
        };
        if status == status::SUCCESS {
            self.stored += 1;
        } else {
            self.refused += 1;
        }
        self.answer(wire, context, &command.answer(status))
    }

    /// Into the spool, if it is whole and what the command calls it: what the intake would refuse, or
    /// could put to no study, is not acknowledged.
    fn keep(&mut self, draft: Draft, named: &str, syntax: &str) -> u16 {
        let (draft, checked) = match draft.sync_and_check(|draft| checked(draft, named, syntax)) {
            Ok(settled) => settled,
            Err(error) => return failed(&error),
        };
        match checked {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                warn!(
                    "an object is refused: its SOP Instance UID is not the command's, no study is named, or \
                     it is written in another syntax than was agreed on"
                );
                return status::NOT_UNDERSTOOD;
            }
            Ok(Err(error)) => {
                warn!("an object is refused: {error}");
                return status::NOT_UNDERSTOOD;
            }
            Err(error) => return failed(&error),
        }
        match self.batch.keep(draft) {
            Ok(()) => status::SUCCESS,
            Err(error) => failed(&error),
        }
    }

    /// Says what is here and what is not: PS3.4 annex J, on the same association as long as it lasts.
    fn commit(
        &mut self,
        wire: &mut Wire,
        context: u8,
        command: &Command,
        asked: &[u8],
    ) -> Result<(), WireError> {
        let syntax = self.contexts.get(&context).map_or("", |agreed| agreed.syntax.as_str());
        let Some(asked) = commitment::Asked::read(asked, syntax) else {
            return self.answer(wire, context, &command.answer(status::NOT_UNDERSTOOD));
        };
        if self.owed.len() >= MAX_OWED {
            return self.answer(wire, context, &command.answer(status::OUT_OF_RESOURCES));
        }
        let (event, report) = asked.report(self.house.spool.folder(), syntax);
        match self.house.reports.remember(self.title, asked) {
            Ok(note) => self.owed.push(note),
            Err(error) => return self.answer(wire, context, &command.answer(failed(&error))),
        }
        self.answer(wire, context, &command.answer(status::SUCCESS))?;
        self.answer(wire, context, &event_report(event))?;
        let most = self.peer_max as usize - VALUE_HEADS;
        wire.send_values(context, PDataValueType::Data, &report, most)
    }

    fn answer(&self, wire: &mut Wire, context: u8, command: &Command) -> Result<(), WireError> {
        wire.send_values(context, PDataValueType::Command, &command.bytes(), MAX_COMMAND_BYTES)
    }
}

/// Whether an object is whole and has this name, and a study; of a large one the header is looked at,
/// which is within what is read.
fn checked(draft: &Draft, named: &str, syntax: &str) -> io::Result<Result<bool, DicomError>> {
    let is_whole = draft.bytes <= MAX_CHECKED_BYTES;
    let bytes = draft.read_back(MAX_CHECKED_BYTES)?;
    let judge = || {
        let header = read_header(&bytes)?;
        if is_whole && !header.is_enhanced() {
            check_whole(&bytes, &header)?;
        }
        let is_as_agreed = data_set(&bytes).is_none_or(|data| begins_as(data, syntax));
        Ok(header.sop_uid == named && is_uid(&header.study_uid) && is_as_agreed)
    };
    Ok(judge())
}

/// What comes behind the meta group of a file of ours.
fn data_set(file: &[u8]) -> Option<&[u8]> {
    let length = file.get(META_LENGTH..)?.first_chunk::<4>()?;
    file.get(META_LENGTH + 4 + u32::from_le_bytes(*length) as usize..)
}

/// Whether a data set begins as one of this syntax does: our reader would take it all the same, and others
/// would not.
fn begins_as(data: &[u8], syntax: &str) -> bool {
    let Some([group, high, _, _, vr @ .., _, _]) = data.first_chunk::<8>() else { return true };
    // In implicit VR the length stands there, and no first element is so long that it has letters in it.
    let names_vr = vr.iter().all(u8::is_ascii_uppercase);
    match syntax {
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => true,
        uids::IMPLICIT_VR_LITTLE_ENDIAN => !names_vr && *high == 0,
        EXPLICIT_VR_BIG_ENDIAN => names_vr && *group == 0,
        _ => names_vr && *high == 0,
    }
}

/// The status that says what the disk said.
fn failed(error: &io::Error) -> u16 {
    warn!("an object cannot be kept: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => status::OUT_OF_RESOURCES,
        _ => status::PROCESSING_FAILURE,
    }
}

/// What comes before a data set in a file: preamble, prefix and the meta group (PS3.10 section 7.1).
fn head(class: &str, instance: &str, syntax: &str) -> Vec<u8> {
    let mut group = vec![2, 0, 1, 0, b'O', b'B', 0, 0, 2, 0, 0, 0, 0, 1];
    let mut text = |element: u8, vr: [u8; 2], value: &str, pad: u8| {
        let padded = value.len() + value.len() % 2;
        group.extend([2, 0, element, 0, vr[0], vr[1]]);
        group.extend((padded as u16).to_le_bytes());
        group.extend(value.as_bytes());
        group.resize(group.len() + padded - value.len(), pad);
    };
    text(0x02, *b"UI", class, 0);
    text(0x03, *b"UI", instance, 0);
    text(0x10, *b"UI", syntax, 0);
    text(0x12, *b"UI", IMPLEMENTATION_CLASS, 0);
    text(0x13, *b"SH", IMPLEMENTATION_NAME, b' ');
    let mut head = vec![0; 128];
    head.extend(b"DICM");
    head.extend([2, 0, 0, 0, b'U', b'L', 4, 0]);
    head.extend((group.len() as u32).to_le_bytes());
    head.extend(group);
    head
}
