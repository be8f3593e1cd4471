"""The check that `ramblk crash-explore` starts for each state: it asks the hunt's guests.

    client.py SOCKET CASE FILE
"""

import json
import os
import socket
import sys

path, case, file = sys.argv[1:]
marks = os.environ["RAMBLK_MARKS"].splitlines()
order = {"case": case, "file": file, "state": os.environ["RAMBLK_STATE"]}
order["mark"] = marks[-1] if marks else ""
with socket.socket(socket.AF_UNIX) as hunt:
    hunt.connect(path)
    hunt.sendall(json.dumps(order).encode() + b"\n")
    # No answer at all is no good one: this fails then, and the state counts as bad.
    reason = json.loads(hunt.makefile().read())
print(reason or "good")
sys.exit(1 if reason else 0)
