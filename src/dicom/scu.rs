//! C-STORE, C-ECHO and the report of storage commitment, as the one who asks for the association.
//!
//! Owns the association that an object is handed over in, or a report. What a status means for another
//! try is decided here, by PS3.4 table B.2-1.

use dicom_dictionary_std::{tags, uids};
use dicom_object::{DefaultDicomObject, from_reader};
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use dicom_ul::pdu::{
    AssociationRQ, PDataValueType, Pdu, PresentationContextProposed,
    PresentationContextResultReason, RequestorRoles, UserVariableItem,
};

use super::dial::{dial, encrypted};
use super::dimse::{Command, DATA_SET, NO_DATA_SET, element, field};
use super::services::{
    APPLICATION_CONTEXT, COMMITMENT_INSTANCE, SENT_SYNTAXES, largest_pdu, user_variables,
};
use super::target::{DeliveryOutcome, Dimse, Outgoing, SendError, Status, Target};
use super::wire::{Line, MAX_PDU, USUAL_PDU, VALUE_HEADS, Wire, WireError};

/// The one context of an association of ours.
const CONTEXT: u8 = 1;
/// The one message in it.
const MESSAGE: u16 = 1;

/// An association with one context.
struct Association<'a> {
    target: &'a Target,
    wire: Wire,
    /// The transfer syntax; none where the peer knows the class but not ours.
    syntax: String,
    most: usize,
}

/// Asks whether anybody is there.
pub(super) fn echo(target: &Target, way: &Dimse) -> Result<String, SendError> {
    let mut association = match Association::open(target, way, uids::VERIFICATION)? {
        Ok(association) => association,
        Err(reason) => {
            return Err(SendError::NotLetIn(target.name.clone(), format!("C-ECHO: {reason}")));
        }
    };
    let command = Command::default()
        .with_uid(element::AFFECTED_SOP_CLASS_UID, uids::VERIFICATION)
        .with(element::COMMAND_FIELD, field::C_ECHO)
        .with(element::MESSAGE_ID, MESSAGE)
        .with(element::DATA_SET_TYPE, NO_DATA_SET);
    association.say(&command)?;
    let status = association.hear()?;
    association.release();
    match status {
        0 => Ok("it answers C-ECHO".to_owned()),
        other => {
            let said = format!("C-ECHO: {}", Status::Dimse(other));
            Err(SendError::NotLetIn(target.name.clone(), said))
        }
    }
}

/// Hands over one object.
pub(super) fn store(
    target: &Target,
    way: &Dimse,
    object: Outgoing<'_>,
) -> Result<DeliveryOutcome, SendError> {
    let unreadable = |error: &dyn std::fmt::Display| SendError::Object(error.to_string());
    let file = from_reader(object.bytes).map_err(|error| unreadable(&error))?;
    let text = |tag| -> Result<String, SendError> {
        let element = file.element(tag).map_err(|error| unreadable(&error))?;
        let text = element.to_str().map_err(|error| unreadable(&error))?;
        Ok(text.trim_end_matches(['\0', ' ']).to_owned())
    };
    let (class, instance) = (text(tags::SOP_CLASS_UID)?, text(tags::SOP_INSTANCE_UID)?);
    let mut association = match Association::open(target, way, &class)? {
        Ok(association) => association,
        // PS3.7 annex C: SOP class not supported.
        Err(_) => return Ok(DeliveryOutcome::Refused(Status::Dimse(0x0122))),
    };
    let command = Command::default()
        .with_uid(element::AFFECTED_SOP_CLASS_UID, &class)
        .with(element::COMMAND_FIELD, field::C_STORE)
        .with(element::MESSAGE_ID, MESSAGE)
        .with(element::PRIORITY, 0)
        .with(element::DATA_SET_TYPE, DATA_SET)
        .with_uid(element::AFFECTED_SOP_INSTANCE_UID, &instance);
    association.say(&command)?;
    let data = data_set(&file, &association.syntax)?;
    association.send(PDataValueType::Data, &data)?;
    let status = association.hear()?;
    association.release();
    Ok(outcome_of_status(status))
}

/// An event and its data set, as written in a transfer syntax.
pub(super) type Event<'a> = &'a dyn Fn(&str) -> (u16, Vec<u8>);

/// The command before the data set of a report on storage commitment.
pub(super) fn event_report(event: u16) -> Command {
    Command::default()
        .with_uid(element::AFFECTED_SOP_CLASS_UID, uids::STORAGE_COMMITMENT_PUSH_MODEL)
        .with(element::COMMAND_FIELD, field::N_EVENT_REPORT)
        .with(element::MESSAGE_ID, MESSAGE)
        .with(element::DATA_SET_TYPE, DATA_SET)
        .with_uid(element::AFFECTED_SOP_INSTANCE_UID, COMMITMENT_INSTANCE)
        .with(element::EVENT_TYPE_ID, event)
}

/// Tells who asked for storage commitment what became of it: in the role of the service's SCP, though it
/// is we who ask for the association (PS3.4 section J.3.3).
pub(super) fn tell_commitment(
    target: &Target,
    way: &Dimse,
    report: Event<'_>,
) -> Result<(), SendError> {
    let refused =
        |why: String| SendError::NotLetIn(target.name.clone(), format!("commitment: {why}"));
    let class = uids::STORAGE_COMMITMENT_PUSH_MODEL;
    let mut association = match Association::open(target, way, class)? {
        Ok(association) => association,
        Err(reason) => return Err(refused(reason)),
    };
    let (event, data) = report(&association.syntax);
    association.say(&event_report(event))?;
    association.send(PDataValueType::Data, &data)?;
    let status = association.hear()?;
    association.release();
    if status == 0 { Ok(()) } else { Err(refused(Status::Dimse(status).to_string())) }
}

/// What is told of this end; of storage commitment, that it is the one who reports.
fn variables_for(class: &str) -> Vec<UserVariableItem> {
    let mut variables = user_variables();
    if class == uids::STORAGE_COMMITMENT_PUSH_MODEL {
        let roles = RequestorRoles { scu: false, scp: true };
        variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(class.to_owned(), roles));
    }
    variables
}

/// What a status means.
pub(super) fn outcome_of_status(status: u16) -> DeliveryOutcome {
    match status {
        // Warnings: kept, with something changed. 0x0111: it is there already.
        0x0000 | 0x0001 | 0x0107 | 0x0111 | 0x0116 | 0xb000..=0xbfff => DeliveryOutcome::Stored,
        0xa700..=0xa7ff => DeliveryOutcome::Busy(Status::Dimse(status)),
        refused => DeliveryOutcome::Refused(Status::Dimse(refused)),
    }
}

fn data_set(file: &DefaultDicomObject, syntax: &str) -> Result<Vec<u8>, SendError> {
    let unknown = || SendError::Object(format!("{syntax} cannot be written"));
    let syntax = TransferSyntaxRegistry.get(syntax).ok_or_else(unknown)?;
    let mut bytes = Vec::new();
    file.write_dataset_with_ts(&mut bytes, syntax).map_err(|_| unknown())?;
    Ok(bytes)
}

impl<'a> Association<'a> {
    /// Opens an association for one class; the inner error says that the peer does not take it.
    fn open(
        target: &'a Target,
        way: &Dimse,
        class: &str,
    ) -> Result<Result<Association<'a>, String>, SendError> {
        let mut wire = Wire::over(connect(target, way)?, target.patience).map_err(lost(target))?;
        let syntaxes = SENT_SYNTAXES.iter().map(|(uid, _)| (*uid).to_owned()).collect();
        let asked = AssociationRQ {
            protocol_version: 1,
            calling_ae_title: way.calling_ae.clone(),
            called_ae_title: way.called_ae.clone(),
            application_context_name: APPLICATION_CONTEXT.to_owned(),
            presentation_contexts: vec![PresentationContextProposed {
                id: CONTEXT,
                abstract_syntax: class.to_owned(),
                transfer_syntaxes: syntaxes,
            }],
            user_variables: variables_for(class),
        };
        wire.send(&Pdu::AssociationRQ(asked)).map_err(lost(target))?;
        let accepted = match wire.receive().map_err(lost(target))? {
            Pdu::AssociationAC(accepted) => accepted,
            Pdu::AssociationRJ(refused) => {
                let reason = refused.source.to_string();
                return Err(SendError::NotLetIn(target.name.clone(), reason));
            }
            _ => return Err(SendError::Unreachable(target.name.clone(), nonsense())),
        };
        let most = largest_pdu(&accepted.user_variables).unwrap_or(USUAL_PDU).clamp(1024, MAX_PDU)
            as usize
            - VALUE_HEADS;
        let agreed = accepted.presentation_contexts.into_iter().find(|one| one.id == CONTEXT);
        match agreed {
            Some(one) if one.reason == PresentationContextResultReason::Acceptance => {
                let syntax = one.transfer_syntax.trim_end_matches(['\0', ' ']).to_owned();
                Ok(Ok(Association { target, wire, syntax, most }))
            }
            other => {
                let reason =
                    other.map_or_else(|| "no answer".to_owned(), |one| one.reason.to_string());
                let association = Association { target, wire, syntax: String::new(), most };
                association.release();
                Ok(Err(reason))
            }
        }
    }

    fn say(&mut self, command: &Command) -> Result<(), SendError> {
        self.send(PDataValueType::Command, &command.bytes())
    }

    fn send(&mut self, value_type: PDataValueType, bytes: &[u8]) -> Result<(), SendError> {
        let sent = self.wire.send_values(CONTEXT, value_type, bytes, self.most);
        sent.map_err(lost(self.target))
    }

    /// The status of the answer.
    fn hear(&mut self) -> Result<u16, SendError> {
        let mut command = Vec::new();
        loop {
            let Pdu::PData { data } = self.wire.receive().map_err(lost(self.target))? else {
                return Err(SendError::Unreachable(self.target.name.clone(), nonsense()));
            };
            for value in data {
                command.extend(value.data);
                if value.is_last {
                    let read =
                        Command::read(&command).and_then(|read| read.number(element::STATUS));
                    return read.ok_or_else(|| {
                        SendError::Unreachable(self.target.name.clone(), nonsense())
                    });
                }
                if command.len() > super::dimse::MAX_COMMAND_BYTES {
                    return Err(SendError::Unreachable(self.target.name.clone(), nonsense()));
                }
            }
        }
    }

    /// Says goodbye; what was answered before counts, whatever comes of this.
    fn release(mut self) {
        if self.wire.send(&Pdu::ReleaseRQ).is_ok() {
            let _ = self.wire.receive();
        }
    }
}

fn nonsense() -> String {
    "it does not keep to the protocol".to_owned()
}

fn lost(target: &Target) -> impl Fn(WireError) -> SendError + '_ {
    |error| SendError::unreachable(target, &error)
}

fn connect(target: &Target, way: &Dimse) -> Result<Box<dyn Line>, SendError> {
    let Dimse { host, port, tls, .. } = way;
    let socket = dial(target, host, *port)?;
    let Some(tls) = tls else { return Ok(Box::new(socket)) };
    Ok(Box::new(encrypted(host, socket, tls)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_the_rest_is_told() {
        assert_eq!(outcome_of_status(0x0000), DeliveryOutcome::Stored);
        assert_eq!(outcome_of_status(0xb007), DeliveryOutcome::Stored);
        assert_eq!(outcome_of_status(0xa700), DeliveryOutcome::Busy(Status::Dimse(0xa700)));
        for refused in [0xc000, 0x0110, 0xa900, 0x0122, 0x0124] {
            assert_eq!(
                outcome_of_status(refused),
                DeliveryOutcome::Refused(Status::Dimse(refused))
            );
        }
    }
}
