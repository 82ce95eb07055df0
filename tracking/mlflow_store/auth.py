"""Authentication for MLflow's server when `ui` starts it: a token, and an end with its owner.

Loopback is not private on a machine that others log in to. The token comes by a variable, which
other users cannot read as they could an argument; a link carries it once and leaves a cookie.
Decides nothing about what MLflow shows.
"""

import base64
import binascii
import hashlib
import hmac
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

TOKEN_VARIABLE = "THERMOLION_UI_TOKEN"

_Scope = MutableMapping[str, Any]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

_REFUSAL = (
    b"This is somebody's own page. Open the link that `thermolion ui` has printed; whoever asks "
    b"for a user and a password takes any user and the token of that link.\n"
)


def make_app() -> _App:
    """Return MLflow's application behind a token; MLflow knows it as the app `thermolion`."""
    from mlflow.server.fastapi_app import app

    _end_with_owner()
    token = os.environ.get(TOKEN_VARIABLE)
    return TokenAuth(app, token) if token else app


class TokenAuth:
    """An ASGI application that passes requests on to `app` if they carry `token`.

    It may come as a bearer token, as the password of any user, as `?token=` or as the cookie that
    such a link leaves.
    """

    def __init__(self, app: _App, token: str) -> None:
        self._app = app
        self._token = token
        # Cookies of one host are shared by its ports: each server needs a name of its own. A
        # token may hold what a cookie cannot, and the digest is as hard to guess.
        digest = hashlib.sha256(token.encode()).hexdigest()
        self._cookie, self._pass = f"thermolion-{digest[:8]}", digest

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan" or self._is_allowed(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _is_allowed(self, scope: _Scope) -> bool:
        headers: list[tuple[bytes, bytes]] = scope.get("headers", [])
        return any(
            hmac.compare_digest(given.encode(), wanted.encode())
            for name, value in headers
            for given, wanted in self._credentials(name.lower(), value.decode("latin-1"))
        )

    def _credentials(self, name: bytes, value: str) -> Iterator[tuple[str, str]]:
        """Yield each credential of a header, with what it would be if it were right."""
        if name == b"cookie":
            for cookie in value.split(";"):  # those of other sites may be malformed
                cookie_name, _, content = cookie.strip().partition("=")
                if cookie_name == self._cookie:
                    yield content, self._pass
        elif name == b"authorization":
            kind, _, credential = value.partition(" ")
            if kind.lower() == "bearer":
                yield credential.strip(), self._token
            elif kind.lower() == "basic":
                try:
                    yield base64.b64decode(credential).decode().partition(":")[2], self._token
                except (binascii.Error, UnicodeDecodeError):
                    return

    async def _answer(self, scope: _Scope, send: _Send) -> None:
        """Redirect a link that carries the token to its page; refuse everything else."""
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        token = dict(query).get("token", "")
        if scope["method"] == "GET" and hmac.compare_digest(token.encode(), self._token.encode()):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            # The browser keeps what stands behind the #. Always a path of this host.
            # Quoted: a line break in a path must not begin a header of its own.
            path = "/" + quote(scope["path"].lstrip("/")) + (f"?{rest}" if rest else "")
            cookie = f"{self._cookie}={self._pass}; Path=/; HttpOnly; SameSite=Strict"
            await _respond(send, 303, [("location", path), ("set-cookie", cookie)], b"")
            return
        challenge = ("www-authenticate", 'Basic realm="thermolion ui", charset="UTF-8"')
        await _respond(send, 401, [challenge, ("content-type", "text/plain")], _REFUSAL)


async def _respond(send: _Send, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    raw += [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _end_with_owner() -> None:
    """End this server once the other end of its standard input is gone, even by kill -9."""

    def wait() -> None:
        # By its number: Python's own buffered reader is closed first when the process ends.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    if not sys.stdin.isatty():
        threading.Thread(target=wait, name="owner", daemon=True).start()
