"""Stands in for an intermediate instance: same flags, same leash, same ready line; an image is one file.

What its disks show was PUT to its control port.
Gates: while a file `hold-NAME` lies in $FAKE_GATES, the step NAME waits, and says so in `at-NAME`.
"""

import argparse
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

GATES = Path(os.environ["FAKE_GATES"])


def pass_gate(name: str) -> None:
    if (GATES / f"hold-{name}").exists():
        (GATES / f"at-{name}").touch()
        while (GATES / f"hold-{name}").exists():
            time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("--directory", "--host", "--control-port", "--block-port"):
        parser.add_argument(flag, required=True)
    for flag in ("--credential-stdin", "--exit-with-stdin"):
        parser.add_argument(flag, action="store_true", required=True)
    options = parser.parse_args()
    directory = Path(options.directory)
    credential = json.loads(sys.stdin.readline())
    assert set(credential) == {"authority", "certificate", "key"}
    with (directory / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    (directory / "disk").touch()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            """Whoever reads has sent bytes: what the disks show now."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            (directory / "shown").write_bytes(body)
            self._answer(b"{}")

        def do_GET(self) -> None:
            shown = directory / "shown"
            self._answer(shown.read_bytes() if shown.exists() else b"[]")

        def do_POST(self) -> None:
            pass_gate("image")
            new_job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (directory / "images").mkdir(exist_ok=True)
            file = f"images/{new_job['name']}.{new_job['format']}"
            (directory / file).write_text("image")
            self._answer(json.dumps({"files": [file]}).encode())

        def _answer(self, answer: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((options.host, int(options.control_port)), Handler)
    blocks = ThreadingHTTPServer((options.host, int(options.block_port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def leash() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        if os.getppid() == parent:  # let go by a living parent: the clean step may be held here
            pass_gate("clean")
        os._exit(0)

    parent = os.getppid()
    threading.Thread(target=leash, daemon=True).start()
    pass_gate("prepare")
    print(json.dumps({"host": options.host}), flush=True)
    blocks.serve_forever()


main()
