"""Asks for storage commitment as another's software does, and prints what it is told.

commit.py PORT PRESENT_UID MISSING_UID
"""

import json
import sys
import threading

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

told = {}
heard = threading.Event()


def report(event):
    told["event"] = event.request.EventTypeID
    information = event.event_information
    told["transaction"] = str(information.TransactionUID)
    told["here"] = [item.ReferencedSOPInstanceUID for item in information.get("ReferencedSOPSequence", [])]
    told["missing"] = [
        [item.ReferencedSOPInstanceUID, item.FailureReason]
        for item in information.get("FailedSOPSequence", [])
    ]
    heard.set()
    return 0x0000, None


def main(port, present, missing):
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate(
        "127.0.0.1", int(port), ae_title="HEPALERT", evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)]
    )
    assert association.is_established, "no association"
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    asked.ReferencedSOPSequence = []
    for uid in (present, missing):
        item = Dataset()
        item.ReferencedSOPClassUID = CTImageStorage
        item.ReferencedSOPInstanceUID = uid
        asked.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_action(
        asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    assert status and status.Status == 0, status
    assert heard.wait(10), "no report"
    association.release()
    told["is_ours"] = told.pop("transaction") == asked.TransactionUID
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
