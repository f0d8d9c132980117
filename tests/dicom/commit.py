"""Asks for storage commitment as another's software does, and prints what it is told.

commit.py PORT PRESENT_UID MISSING_UID
"""

import json
import sys
import threading

from commitment import ask, told_by
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

told = {}
heard = threading.Event()


def report(event):
    told.update(told_by(event))
    heard.set()
    return 0x0000, None


def main(port, present, missing):
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate(
        "127.0.0.1", int(port), ae_title="HEPALERT", evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)]
    )
    assert association.is_established, "no association"
    transaction, status = ask(association, (present, missing))
    assert status and status.Status == 0, status
    assert heard.wait(10), "no report"
    association.release()
    told["is_ours"] = told.pop("transaction") == transaction
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
