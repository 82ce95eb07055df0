"""Who is let through to MLflow's pages; `tests/orchestrator/cli/test_ui.py` has the real
server."""

import asyncio
import base64
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tracking.mlflow_store.auth import TokenAuth
from tracking.mlflow_store.server import Pages

TOKEN = "a-token_of-mine"


async def _inner(scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


class Answer:
    """What one request got."""

    def __init__(self, path: str, query: str = "", method: str = "GET", **headers: str) -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("the door reads no body")

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        asyncio.run(TokenAuth(_inner, TOKEN)(scope, receive, send))
        self.status = sent[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.body = sent[1]["body"].decode()


def _basic(said: str) -> str:
    return f"Basic {base64.b64encode(said.encode()).decode()}"


@pytest.mark.parametrize(
    "authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", _basic(f"anyone:{TOKEN}")]
)
def test_whoever_knows_the_token_is_let_through(authorization: str) -> None:
    answer = Answer("/api", authorization=authorization)
    assert (answer.status, answer.body) == (200, "/api")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer another"},
        {"authorization": "Basic !!"},
        {"authorization": _basic(TOKEN)},
        {"authorization": TOKEN},
        {"authorization": "Bearer größe"},
        {"cookie": f"other={TOKEN}"},
        {"cookie": "thermolion=;;;=\0"},
    ],
)
@pytest.mark.parametrize("query", ["", "token=", "token=another"])
def test_nobody_else_is(headers: dict[str, str], query: str) -> None:
    for method in ("GET", "POST"):
        answer = Answer("/api", query, method, **headers)
        assert answer.status == 401
        assert "thermolion ui" in answer.body
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert TOKEN not in str(answer.headers) + answer.body


def test_a_link_leaves_a_cookie_that_lets_its_browser_in() -> None:
    first = Answer("/", f"o=1&token={TOKEN}")
    assert (first.status, first.headers["location"]) == (303, "/?o=1")
    cookie = first.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict"} < set(cookie.split("; "))
    assert Answer("/api", cookie=cookie.partition(";")[0]).status == 200


@pytest.mark.parametrize("other", ['x={"a":1}', "a[b]=1", "novalue"])
def test_odd_cookies_of_others_on_this_host_lock_nobody_out(other: str) -> None:
    ours = Answer("/", f"token={TOKEN}").headers["set-cookie"].partition(";")[0]
    assert Answer("/api", cookie=f"{other}; {ours}").status == 200


def test_a_token_of_any_characters_comes_back_from_its_link() -> None:
    odd = "a+b/c#d&e;f="
    link = Pages("http://127.0.0.1:5000", odd).link("experiments/7")
    split = urlsplit(link)
    assert parse_qs(split.query) == {"token": [odd]}
    assert split.fragment == "/experiments/7"


def test_a_link_leads_to_no_other_host_and_adds_no_header() -> None:
    query = f"token={TOKEN}"
    assert Answer("//elsewhere.org/x", query).headers["location"] == "/elsewhere.org/x"
    location = Answer("/a\r\nset-cookie: x", query).headers["location"]
    assert location == "/a%0D%0Aset-cookie%3A%20x"


def test_a_token_in_the_address_changes_nothing_on_the_server() -> None:
    assert Answer("/api", f"token={TOKEN}", "POST").status == 401
