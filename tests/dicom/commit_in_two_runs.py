"""Asks for storage commitment and hangs up; in another run listens for the report.

commit_in_two_runs.py ask HEPALERT_PORT UID
commit_in_two_runs.py hear OWN_PORT
"""

import json
import sys
import threading

from commitment import ask, told_by
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel


def asked(port, uid):
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate("127.0.0.1", int(port), ae_title="HEPALERT")
    assert association.is_established, "no association"
    transaction, status = ask(association, (uid,))
    association.release()
    assert status and status.Status == 0, status
    return {"transaction": str(transaction)}


def heard(own):
    told = {}
    called = threading.Event()

    def report(event):
        told.update(told_by(event))
        called.set()
        return 0x0000, None

    ae = AE(ae_title="SCANNER")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", int(own)), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)]
    )
    assert called.wait(25), "not called back"
    server.shutdown()
    return told


if __name__ == "__main__":
    print(json.dumps({"ask": asked, "hear": heard}[sys.argv[1]](*sys.argv[2:])))
