"""A service that knows nothing of how to end: SIGTERM kills it at once.

Behind evenkeel-run it loses nothing (see docs/guides/conformance.md). Standard
library only. Orders are recorded on standard output, one line of JSON each, so
that a test can tell whether one was lost or done twice.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept
    disable_nagle_algorithm = True

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        time.sleep(0.01)  # what a database would take
        self.answer({"price": 42})

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(0.01)
        # One write: lines of different threads must not mix.
        sys.stdout.write(json.dumps({"ledger": "order", "id": order["id"]}) + "\n")
        sys.stdout.flush()
        self.answer({"id": order["id"]})

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 loses connections at any load


if __name__ == "__main__":
    Server(("127.0.0.1" if os.environ.get("LOCAL") else "", int(os.environ["PORT"])), Handler).serve_forever()
