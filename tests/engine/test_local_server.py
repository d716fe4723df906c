"""The server of pages on the loopback: who does not know the token, or comes from elsewhere, gets nothing."""

import socket
import threading

import pytest

from tfmed.engine.local_server import LocalServer
from tfmed.errors import DataError, RunError

pytestmark = pytest.mark.one_stack


@pytest.fixture(scope="module")
def server():
    """A server of one page, one list of what was put there, and one route that refuses."""
    kept = []

    def refuse(arguments):
        raise DataError("no\nsuch thing; give another")

    gets = {"": lambda arguments: ("text/html", b"<p>page"), "refuses": refuse,
            "number": lambda arguments: ("text/plain", str(int(arguments["z"])).encode())}  # fmt: skip
    puts = {"keep": lambda arguments, body: kept.append((arguments, body)) or ("text/plain", b"saved")}
    with LocalServer(gets, puts, largest=100) as found:
        found.kept = kept
        threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
        yield found
        found.shutdown()


def answered(server, first, *lines, host=None, body=b""):
    """(status, head, body) of a request that is sent as it stands; TOKEN in it is the server's."""
    host = f"127.0.0.1:{server.server_port}" if host is None else host
    text = "\r\n".join([f"{first} HTTP/1.1", *([f"Host: {host}"] if host else []), *lines, "", ""])
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(text.replace("TOKEN", server.token).encode() + body)
        found = b""
        while more := connection.recv(65536):
            found += more
    head, _, rest = found.decode("latin-1").partition("\r\n\r\n")
    return int(head.split()[1]), head, rest


def test_who_knows_the_token_gets_the_page(server):
    status, head, body = answered(server, "GET /TOKEN/")
    assert (status, body) == (200, "<p>page")
    for line in ("Content-Security-Policy: default-src 'none'", "Referrer-Policy: no-referrer",
                 "Cache-Control: no-store", "X-Content-Type-Options: nosniff"):  # fmt: skip
        assert line in head
    status, _, _ = answered(server, "PUT /TOKEN/keep?sheet=a%2Fb", "Content-Length: 3", body=b"abc")
    assert status == 200 and server.kept == [({"sheet": "a/b"}, b"abc")]
    assert answered(server, "GET /TOKEN/number?z=4")[2] == "4"
    assert len(server.token) >= 32 and server.address == f"http://127.0.0.1:{server.server_port}/{server.token}/"


@pytest.mark.parametrize("request_line", [
    "GET /", "GET /x/", "GET //", "GET /TOKENx/", "GET /TOKEN", "GET TOKEN/", "GET /token/TOKEN/", "GET /?TOKEN/",
    "GET http://127.0.0.1/TOKEN/", "GET /\u00e4/", "PUT /x/keep", "GET /../TOKEN/",
])  # fmt: skip
def test_without_the_token_there_is_nothing(server, request_line):
    status, _, body = answered(server, request_line, "Content-Length: 0")
    assert status == 403 and "page" not in body


@pytest.mark.parametrize("way", [
    "../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "....//etc/passwd",
    "keep", "static/../refuses", "\\..\\x",
])  # fmt: skip
def test_paths_lead_nowhere(server, way):
    status, _, body = answered(server, f"GET /TOKEN/{way}")
    assert status == 404 and "root" not in body


@pytest.mark.parametrize("lines, host", [
    ((), "evil.example"), ((), "evil.example:PORT"), ((), ""), ((), "127.0.0.1"), ((), "127.0.0.1:1"),
    ((), "localhost.evil.example:PORT"), (("Origin: http://evil.example",), None), (("Origin: null",), None),
])  # fmt: skip
def test_other_hosts_and_origins_are_refused(server, lines, host):
    host = host if host is None else host.replace("PORT", str(server.server_port))
    before = len(server.kept)
    for request_line in ("GET /TOKEN/", "PUT /TOKEN/keep"):
        assert answered(server, request_line, "Content-Length: 0", *lines, host=host)[0] == 403
    assert len(server.kept) == before


@pytest.mark.parametrize("lines, status", [
    (["Content-Length: 101"], 413), (["Content-Length: 99999999999999999999"], 413), ([], 411),
    (["Content-Length: -1"], 411), (["Content-Length: 1e1"], 411),
    (["Transfer-Encoding: chunked", "Content-Length: 3"], 411),
])  # fmt: skip
def test_bodies_have_a_largest_size(server, lines, status):
    before = len(server.kept)
    assert answered(server, "PUT /TOKEN/keep", *lines)[0] == status
    assert len(server.kept) == before


def test_what_is_wrong_is_one_line_and_the_server_goes_on(server):
    status, _, body = answered(server, "GET /TOKEN/refuses")
    assert (status, body) == (409, "no such thing; give another")
    assert answered(server, "GET /TOKEN/number")[0] == answered(server, "GET /TOKEN/number?z=x")[0] == 400
    assert answered(server, "DELETE /TOKEN/")[0] == 501
    assert answered(server, "GET /TOKEN/")[0] == 200


def test_only_the_loopback_is_bound(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(RunError, match="--port"):
        LocalServer({}, {}, 1, server.server_port)
