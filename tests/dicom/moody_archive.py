"""An archive that answers C-STORE with a status of one's choice.

moody_archive.py STATUS ..: one archive a status (decimal), each at a port of its own; prints the ports in one
line, then serves until it is killed. They know this device as HEPALERT and let no other in.
"""

import sys
import threading

from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, SegmentationStorage, Comprehensive3DSRStorage
from pynetdicom.sop_class import SecondaryCaptureImageStorage, Verification

ports = []
for status in map(int, sys.argv[1:]):
    ae = AE(ae_title="MOODY")
    ae.require_calling_aet = ["HEPALERT"]
    stored = [CTImageStorage, SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage]
    for context in stored + [Verification]:
        ae.add_supported_context(context)
    handlers = [(evt.EVT_C_STORE, lambda event, status=status: status)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    ports.append(str(server.server_address[1]))
print(*ports, flush=True)
threading.Event().wait()
