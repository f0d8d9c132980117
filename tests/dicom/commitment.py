"""What both programs that ask for storage commitment share: the request, and the report on it."""

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance


def ask(association, uids):
    """Asks what of these is kept; the transaction's UID."""
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    asked.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID = CTImageStorage
        item.ReferencedSOPInstanceUID = uid
        asked.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_action(
        asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return asked.TransactionUID, status


def told_by(event):
    """What a report says: its event, its transaction, what is here and what is missing."""
    information = event.event_information
    return {
        "event": event.request.EventTypeID,
        "transaction": str(information.TransactionUID),
        "here": [item.ReferencedSOPInstanceUID for item in information.get("ReferencedSOPSequence", [])],
        "missing": [
            [item.ReferencedSOPInstanceUID, item.FailureReason]
            for item in information.get("FailedSOPSequence", [])
        ],
    }
