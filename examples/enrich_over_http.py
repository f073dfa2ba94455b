"""Asks a service over HTTP about each click, with up to 20 requests at once, and writes the answers to out/ in order.

`python examples/enrich_over_http.py` starts a small service of its own on 127.0.0.1, and the job.  Kill it and start it
again: every click is written exactly once.
"""

import asyncio
import json
import os
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from streamlet import Job, Retry
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

PORT = int(os.environ.get("PROFILES_PORT", "8077"))


class Click(msgspec.Struct, frozen=True):
    number: int
    user: int


async def with_name(click: Click) -> dict[str, object]:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    try:
        writer.write(f"GET /users/{click.user} HTTP/1.0\r\n\r\n".encode())
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return {"number": click.number, **json.loads(body)}


class Profiles(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"name": f"user {self.path.rpartition('/')[2]}"}).encode())

    def log_request(self, code: object = "-", size: object = "-") -> None: ...


job = Job("known-clicks")
(
    job.source(Generator(lambda i: Click(i, i * i % 11), count=500), uid="clicks")
    .map_async(with_name, capacity=20, timeout=timedelta(seconds=5), retry=Retry(attempts=5), uid="names")
    .sink(FileSink("out"), uid="out")
)

if __name__ == "__main__":
    threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", PORT), Profiles).serve_forever, daemon=True).start()
    raise SystemExit(job.run())
