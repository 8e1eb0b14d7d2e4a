"""The server of `graphgrad watch`: who gets an answer, which one, and with which headers."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from graphgrad.errors import ConfigurationError, EnvironmentLimitError
from graphgrad.page.watch_page import framed_policy
from graphgrad.tools.watch_pages import Page, Pages
from graphgrad.tools.watch_server import WatchServer

CONTENT = "<p>δ</p>".encode()


@pytest.fixture(scope="module")
def server() -> Iterator[WatchServer]:
    pages = Pages(["nowhere"], page=Page(CONTENT, 3, 100, 1e9))
    with WatchServer(pages, ["<b>run</b>"]) as running:
        thread = threading.Thread(target=lambda: running.serve_forever(0.02))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class Answer:
    """Status, headers and content of an answer."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.content = answer.status, answer.headers, answer.read()


def asked(server: WatchServer, path: str, method: str = "GET", host: str | None = None) -> Answer:
    """What the server answers to a request with these hosts, by default its own."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=5)
    connection.putrequest(method, path, skip_host=True)
    for name in [f"127.0.0.1:{server.server_port}"] if host is None else host.split():
        connection.putheader("Host", name)
    connection.endheaders()
    answer = Answer(connection.getresponse())
    connection.close()
    return answer


def test_it_answers_at_its_address_only(server: WatchServer) -> None:
    path = f"/{server.token}/"
    assert server.address == f"http://127.0.0.1:{server.server_port}{path}"
    assert server.server_address[0] == "127.0.0.1" and len(server.token) >= 22
    found = {name: asked(server, path + name) for name in ("", "page.html", "state")}
    assert [answer.status for answer in found.values()] == [200] * 3
    assert found["page.html"].content == CONTENT
    status = json.loads(found["state"].content)
    assert (status["version"], status["step"]) == (3, 100)
    assert b"&lt;b&gt;run&lt;/b&gt;" in found[""].content
    guess = server.token[:-1] + ("A" if server.token[-1] != "A" else "B")
    wrong = ["/", "/page.html", f"/{server.token}", f"/{guess}/", f"{path}../etc", f"{path}x"]
    wrong += [f"x{path}", f"{path}page.html?x", "/%00/", "*"]
    assert [asked(server, one).status for one in wrong] == [404] * len(wrong)


def test_other_hosts_and_methods_are_refused(server: WatchServer) -> None:
    path, port = f"/{server.token}/page.html", server.server_port
    hosts = ["", "evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil:{port}"]
    hosts += [f"127.0.0.1:{port} evil.example", f"127.0.0.1:{port} 127.0.0.1:{port}"]
    assert [asked(server, path, host=host).status for host in hosts] == [403] * len(hosts)
    assert asked(server, path, host=f"LOCALHOST:{port}").status == 200
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"):
        answer = asked(server, path, method)
        assert answer.status == 405 and answer.headers["Allow"] == "GET"
        assert CONTENT not in answer.content


def test_every_answer_protects_itself(server: WatchServer) -> None:
    path = f"/{server.token}/"
    for name in ("", "page.html", "state", "missing"):
        headers = asked(server, path + name).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Server"].strip() == "graphgrad"
        assert "access-control-allow-origin" not in headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert f"frame-ancestors {'' if name != 'page.html' else chr(39) + 'self'}" in policy
        assert ("connect-src 'self'" in policy) == (name == "")
    assert asked(server, f"{path}page.html").headers["Content-Security-Policy"] == framed_policy()


def test_what_is_not_http_ends_one_connection(
    server: WatchServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for sent in (b"\x00\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"x" * 70_000, b""):
        with socket.create_connection(server.server_address[:2], 5) as connection:
            connection.sendall(sent)
    assert asked(server, f"/{server.token}/").status == 200
    assert capsys.readouterr() == ("", "")


def test_a_port_that_is_not_free_is_an_error(server: WatchServer) -> None:
    pages = Pages(["nowhere"])
    with pytest.raises(EnvironmentLimitError, match="cannot be listened on"):
        WatchServer(pages, ["run"], server.server_port)
    with pytest.raises(ConfigurationError, match="not a port"):
        WatchServer(pages, ["run"], 70_000)


def test_there_is_no_page_before_the_first_and_a_bug_ends_the_server() -> None:
    pages = Pages(["nowhere"])
    with WatchServer(pages, ["run"]) as server:
        host = [f"localhost:{server.server_port}"]
        assert server.answer(host, f"/{server.token}/page.html") == 404
        pages.failure = ZeroDivisionError("a bug")
        with pytest.raises(ZeroDivisionError):
            server.serve_forever(0.01)
