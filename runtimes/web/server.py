"""A folder on 127.0.0.1, isolated as threads in a browser require, for tests and benchmarks.

Nothing else is reachable: what a page asks of another host fails and is written down.
"""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: What makes a page "cross-origin isolated", without which there is no shared memory.
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, headers: Mapping[str, str], **options: Any) -> None:
        self.added = headers
        super().__init__(*arguments, **options)

    def end_headers(self) -> None:
        """Adds the headers of isolation."""
        for name, value in self.added.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def guess_type(self, path: Any) -> str:
        """Modules and WebAssembly by their own types, whatever the system says."""
        suffix = Path(str(path)).suffix
        return TYPES.get(suffix) or mimetypes.guess_type(str(path))[0] or "application/octet-stream"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is printed."""


@contextmanager
def serve(folder: Path, *, isolated: bool = True, port: int = 0) -> Iterator[str]:
    """The address under which the folder's files are, until the block ends.

    Without `isolated` the headers for threads are left out, as on a plain static host.
    """
    headers = ISOLATED if isolated else {}
    handler = partial(_Handler, directory=str(folder), headers=headers)
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
