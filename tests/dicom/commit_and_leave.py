"""Asks for storage commitment, hangs up at once as many scanners do, and prints what it is told later, on
an association that the other side opens.

commit_and_leave.py HEPALERT_PORT OWN_PORT PRESENT_UID MISSING_UID
"""

import json
import sys
import threading

from commitment import ask, told_by
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

calls = []
told = {}
heard = threading.Event()


def report(event):
    """The first call fails: it is called again."""
    calls.append(event.assoc.requestor.ae_title)
    if len(calls) == 1:
        return 0x0110, None
    told.update(told_by(event))
    heard.set()
    return 0x0000, None


def main(port, own, present, missing):
    ae = AE(ae_title="SCANNER")
    ae.require_called_aet = True
    # The one who calls back is the service's provider.
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", int(own)), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)]
    )
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate("127.0.0.1", int(port), ae_title="HEPALERT")
    assert association.is_established, "no association"
    transaction, status = ask(association, (present, missing))
    association.release()
    assert status and status.Status == 0, status
    assert heard.wait(25), f"not called back; calls: {calls}"
    server.shutdown()
    told["is_ours"] = told.pop("transaction") == transaction
    told["by"] = calls
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
