#!/usr/bin/env python3
"""A server in Python: it holds the client `echo` and sends back what comes for it.

python3 echo.py target/release/waypost-brokerless --identity echo-1 --store embedded:/tmp/waypost-sessions
"""

import json
import subprocess
import sys

# The end of this program is the end of its stdin, and ends it too.
server = subprocess.Popen([*sys.argv[1:], "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def ask(operation):
    server.stdin.write(json.dumps(operation).encode() + b"\n")
    server.stdin.flush()


for line in server.stdout:
    event = json.loads(line)
    # A body that is no text comes as `body_b64`, and may be sent so.
    body = {key: event[key] for key in ("body", "body_b64") if key in event}
    match event["event"]:
        case "registered":
            ask({"op": "connect", "client": "echo"})
        case "message":
            ask({"op": "send", "from": "echo", "to": event["from"], **body})
        case "request":
            ask({"op": "reply", "id": event["id"], **body})
sys.exit(server.wait())
