//! Who is let in, and what is agreed with them.
//!
//! Owns the answer to a request for an association. Of the transfer syntaxes that a peer offers, the one
//! it names first of those that the reader decodes is taken: it is what the peer has the images in.

use std::collections::BTreeMap;

use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult,
    AssociationRJServiceProviderPresentationReason, AssociationRJServiceUserReason,
    AssociationRJSource, AssociationRQ, PresentationContextResult, PresentationContextResultReason,
};

use super::super::services::{
    ANSWERED, APPLICATION_CONTEXT, RECEIVED, RECEIVED_SYNTAXES, user_variables,
};
use super::ReceiverParams;

/// What was agreed under a context's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) class: String,
    pub(super) syntax: String,
}

/// Contexts by number.
pub(super) type Contexts = BTreeMap<u8, Context>;

/// The answer to a request.
pub(super) fn answer(
    params: &ReceiverParams,
    asked: &AssociationRQ,
    full: bool,
) -> Result<(AssociationAC, Contexts), AssociationRJ> {
    check(params, asked, full)?;
    let mut contexts = Contexts::new();
    let mut results = Vec::with_capacity(asked.presentation_contexts.len());
    for proposed in &asked.presentation_contexts {
        let class = plain(&proposed.abstract_syntax);
        let is_known = is_known(params, class);
        let syntax = agreed(class, &proposed.transfer_syntaxes).filter(|_| is_known);
        let reason = match (&syntax, is_known) {
            (Some(_), _) => PresentationContextResultReason::Acceptance,
            (None, true) => PresentationContextResultReason::TransferSyntaxesNotSupported,
            (None, false) => PresentationContextResultReason::AbstractSyntaxNotSupported,
        };
        if let Some(syntax) = &syntax {
            let context = Context { class: class.to_owned(), syntax: syntax.clone() };
            contexts.insert(proposed.id, context);
        }
        results.push(PresentationContextResult {
            id: proposed.id,
            reason,
            transfer_syntax: syntax.unwrap_or_else(|| uids::IMPLICIT_VR_LITTLE_ENDIAN.to_owned()),
        });
    }
    let accepted = AssociationAC {
        protocol_version: 1,
        calling_ae_title: asked.calling_ae_title.clone(),
        called_ae_title: asked.called_ae_title.clone(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables: user_variables(),
    };
    Ok((accepted, contexts))
}

fn check(params: &ReceiverParams, asked: &AssociationRQ, full: bool) -> Result<(), AssociationRJ> {
    let refused = |reason| AssociationRJ {
        result: AssociationRJResult::Permanent,
        source: AssociationRJSource::ServiceUser(reason),
    };
    if full {
        let reason = AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
        let source = AssociationRJSource::ServiceProviderPresentation(reason);
        return Err(AssociationRJ { result: AssociationRJResult::Transient, source });
    }
    if plain(&asked.application_context_name) != APPLICATION_CONTEXT {
        let reason = AssociationRJServiceUserReason::ApplicationContextNameNotSupported;
        return Err(refused(reason));
    }
    if asked.called_ae_title.trim() != params.ae_title {
        return Err(refused(AssociationRJServiceUserReason::CalledAETitleNotRecognized));
    }
    let calling = asked.calling_ae_title.trim();
    if !params.allow_ae.is_empty() && !params.allow_ae.iter().any(|title| title == calling) {
        return Err(refused(AssociationRJServiceUserReason::CallingAETitleNotRecognized));
    }
    Ok(())
}

fn is_one_of(classes: &[(&str, &str)], class: &str) -> bool {
    classes.iter().any(|(uid, _)| *uid == class)
}

fn is_known(params: &ReceiverParams, class: &str) -> bool {
    let is_off = class == uids::STORAGE_COMMITMENT_PUSH_MODEL && !params.storage_commitment;
    is_one_of(&RECEIVED, class) || (is_one_of(&ANSWERED, class) && !is_off)
}

fn agreed(class: &str, offered: &[String]) -> Option<String> {
    // What is no image has no pixels to be compressed.
    let plain_ones = [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN];
    let is_image = is_one_of(&RECEIVED, class);
    let taken: &[&str] = if is_image { &RECEIVED_SYNTAXES } else { &plain_ones };
    let mut offered = offered.iter().map(|syntax| plain(syntax));
    offered.find(|syntax| taken.contains(syntax)).map(str::to_owned)
}

fn plain(uid: &str) -> &str {
    uid.trim_end_matches(['\0', ' '])
}
