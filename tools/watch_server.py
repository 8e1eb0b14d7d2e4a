"""Serves the page of runs that train to the browsers of this machine, and to nobody else.

    http://127.0.0.1:PORT/TOKEN/            the page around the page (`page/watch_page.py`)
    http://127.0.0.1:PORT/TOKEN/page.html   the page, byte for byte as `render` writes it
    http://127.0.0.1:PORT/TOKEN/state       whether there is a newer one, as JSON

Laws:

- Only the loopback interface is listened on. Who does not know the random token, another user of
  the machine say, gets 404 for every path.
- A request whose header `Host` is not this server's address gets 403: a foreign site cannot read
  a page by giving its own name the address 127.0.0.1 (DNS rebinding). Methods but GET get 405.
- Nothing of a request is read from the disk, run or written; nothing is logged.
- Every answer forbids to be stored, guessed at, framed by others or read from another site.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from graphgrad.errors import ConfigurationError, EnvironmentLimitError
from graphgrad.page.watch_page import framed_policy, watch_page, watch_policy
from graphgrad.tools.watch_pages import Pages

LOOPBACK = "127.0.0.1"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
_HTML, _JSON, _TEXT = (
    f"{kind}; charset=utf-8" for kind in ("text/html", "application/json", "text/plain")
)
_PATIENCE = 10  # seconds for a browser that sends or reads nothing

Answer = tuple[bytes, str, str]
"""Content, type, and content security policy."""


class WatchServer(ThreadingHTTPServer):
    """The server of some pages; `address` is what a browser opens."""

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # there it would share the port

    def __init__(self, pages: Pages, names: Sequence[str], port: int = 0) -> None:
        """Listens. Raises EnvironmentLimitError for a port that is not free."""
        if not 0 <= port < 1 << 16:
            raise ConfigurationError(f"--port {port} is not a port", fix="--port 8000")
        self.pages, self.token = pages, secrets.token_urlsafe(18)
        around = watch_page(names)
        policies = watch_policy(), framed_policy()
        self.answers: dict[str, Callable[[], Answer]] = {
            "": lambda: (around, _HTML, policies[0]),
            "page.html": lambda: (pages.page.content, _HTML, policies[1]),
            "state": lambda: (json.dumps(pages.status()).encode(), _JSON, _NOTHING),
        }
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise EnvironmentLimitError(
                f"port {port} cannot be listened on: {error.strerror or error}",
                fix="leave --port out for a free one",
            ) from error
        own = self.server_address[1]
        self.hosts = {f"{name}:{own}".encode() for name in (LOOPBACK, "localhost")}
        self.address = f"http://{LOOPBACK}:{own}/{self.token}/"

    def service_actions(self) -> None:
        """Ends the server with the error of graphgrad itself that has ended the building."""
        if self.pages.failure is not None:
            raise self.pages.failure

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Passes over a browser that has gone; raises nothing, as one request ends no server."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def answer(self, host: Sequence[str], path: str) -> Answer | HTTPStatus:
        """What a request gets, or the status that refuses it."""
        if [name.encode("latin-1", "replace").lower() for name in host] not in [
            [known] for known in self.hosts
        ]:
            return HTTPStatus.FORBIDDEN
        empty, _, rest = path.partition("/")
        token, _, name = rest.partition("/")
        known = secrets.compare_digest(token.encode("latin-1", "replace"), self.token.encode())
        if empty or not known or "/" not in rest or name not in self.answers:
            return HTTPStatus.NOT_FOUND
        found = self.answers[name]()
        return found if found[0] else HTTPStatus.NOT_FOUND


class _Handler(BaseHTTPRequestHandler):
    server: WatchServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "graphgrad", ""
    timeout = _PATIENCE

    def parse_request(self) -> bool:
        """Parses a request; refuses every method but GET."""
        if not super().parse_request():
            return False
        if self.command != "GET":
            self.close_connection = True
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)
            return False
        return True

    def do_GET(self) -> None:
        """Answers."""
        found = self.server.answer(self.headers.get_all("Host", []), self.path)
        if isinstance(found, HTTPStatus):
            self._refuse(found)
        else:
            self._send(HTTPStatus.OK, *found)

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(status, f"{status.value} {status.phrase}\n".encode(), _TEXT, _NOTHING)

    def _send(self, status: HTTPStatus, content: bytes, kind: str, policy: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(content))}
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET"
        for name, value in (headers | _HEADERS | {"Content-Security-Policy": policy}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Logs nothing."""
