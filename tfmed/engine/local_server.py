"""Pages for the person at this machine: a server on the loopback alone, behind a token that nobody can guess."""

import contextlib
import hmac
import http.server
import json
import secrets
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from tfmed.engine.terminal import log
from tfmed.errors import RunError, UserError, one_line

HOST = "127.0.0.1"
_SECONDS = 30  # that a request may take to arrive
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

Answer = tuple[str, bytes]  # its type, such as "image/png", and its bytes


class Unknown(Exception):
    """What is asked for is not there: answered by 404."""


class LocalServer(http.server.ThreadingHTTPServer):
    """Serves pages at `address` until `serve_forever` is interrupted.

    A request must name the token, in its path, and this server as its host; a page of another origin is refused.
    What a page asks for is a name among the routes and plain arguments, never a path.

    Args:
        gets: name -> function of {argument: value} that gives an Answer.
        puts: name -> function of ({argument: value}, body).
        largest: bytes of a body.
        port: 0: one that is free.

    Raises:
        RunError: the port is taken.
    """

    daemon_threads = True

    def __init__(
        self,
        gets: Mapping[str, Callable[[dict[str, str]], Answer]],
        puts: Mapping[str, Callable[[dict[str, str], bytes], Answer]],
        largest: int,
        port: int = 0,
    ) -> None:
        self.gets, self.puts, self.largest = gets, puts, largest
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise RunError(f"--port {port}: cannot be used ({error.strerror}); choose another") from None

    @property
    def address(self) -> str:
        """Of the first page, with the token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A person who closes a page breaks connections off."""
        log.debug("a request was broken off", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: LocalServer
    timeout = _SECONDS
    server_version, sys_version = "tfmed", ""

    def do_GET(self) -> None:
        self._answered(lambda name, arguments: self._route(self.server.gets, name)(arguments))

    def do_PUT(self) -> None:
        def answer(name: str, arguments: dict[str, str]) -> Answer:
            route = self._route(self.server.puts, name)
            return route(arguments, self.rfile.read(int(self.headers["Content-Length"])))

        self._answered(answer)

    def _answered(self, answer: Callable[[str, dict[str, str]], Answer]) -> None:
        if refusal := self._refusal():
            return self._send(refusal, "text/plain", b"refused\n")
        found = urllib.parse.urlsplit(self.path)
        name = found.path.split("/", 2)[2]
        try:
            kind, data = answer(name, dict(urllib.parse.parse_qsl(found.query, keep_blank_values=True)))
        except Unknown:
            return self._send(404, "text/plain", b"there is no such thing\n")
        except (KeyError, IndexError, ValueError):
            return self._send(400, "text/plain", b"an argument is missing or wrong\n")
        except (UserError, OSError) as error:
            return self._send(409, "text/plain", one_line(error).encode())
        except Exception:
            log.exception("%s: a defect of tfmed", name)
            return self._send(500, "text/plain", b"a defect of tfmed; its terminal says more\n")
        return self._send(200, kind, data)

    def _refusal(self) -> int:
        """The status of a request that is refused, or 0."""
        hosts = [f"{host}:{self.server.server_port}" for host in (HOST, "localhost")]
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in hosts or (origin and origin not in [f"http://{host}" for host in hosts]):
            return 403
        pieces = self.path.partition("?")[0].split("/", 2)
        given = pieces[1] if len(pieces) == 3 and not pieces[0] else ""
        if not hmac.compare_digest(given.encode(errors="replace"), self.server.token.encode()):
            return 403
        if self.command == "PUT":
            length = self.headers.get("Content-Length", "")
            if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdecimal()):
                return 411
            if len(length) > 12 or int(length) > self.server.largest:
                return 413
        return 0

    def _route(self, routes: Mapping[str, Any], name: str) -> Any:
        if name not in routes:
            raise Unknown(name)
        return routes[name]

    def _send(self, status: int, kind: str, data: bytes) -> None:
        with contextlib.suppress(OSError):  # who asked has gone
            self.send_response(status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the path holds the token."""


def as_json(values: Any) -> Answer:
    """An Answer of plain values."""
    return "application/json", json.dumps(values).encode()
