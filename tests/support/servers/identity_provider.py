"""An OAuth 2 identity provider on a free loopback port: real HTTP, real pages, real refusals.

Authorization code with PKCE, client credentials, refresh tokens that rotate, tokens that end
after seconds, and whatever a test wants it to refuse or to keep waiting for.
"""

import base64
import hashlib
import html
import json
import secrets
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

PAGE = """<!doctype html><html lang="en"><title>Identity provider</title>
<h1>Allow {client} to send email?</h1><p>As {user}</p>
<form method="post" action="/authorize">{fields}
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button></form></html>"""


@dataclass
class IdentityProvider:
    """Start with ``with``.

    Attributes:
        lifetime: seconds that an access token is valid for.
        consent_lifetime: seconds until the consent ends, as it tells; None: it doesn't.
        refuse: answer of the token endpoint instead of a token: error and description.
        hang: set: the token endpoint doesn't answer.
        delay: seconds that it takes.
        asked: the forms that the token endpoint got, secrets left out.
    """

    client_id: str = "site"
    client_secret: str = "s3cret of the client"
    lifetime: float = 3600
    consent_lifetime: float | None = None
    refuse: tuple[str, str] | None = None
    deny: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None
    rotates: bool = True
    body: bytes | None = None
    redirect_to: str = ""
    delay: float = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    access: dict[str, float] = field(default_factory=dict)
    refresh: set[str] = field(default_factory=set)

    def __enter__(self) -> "IdentityProvider":
        self.hang = threading.Event()
        self.lock = threading.Lock()
        self.codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(_Handler):
            it = provider

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.hang.clear()
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def oauth(self, flow: str = "client", **values: str) -> dict[str, str]:
        """A set's ``oauth`` for this provider."""
        urls = {"token_url": f"{self.url}/token", "scope": "smtp offline_access"}
        if flow == "consent":
            urls["authorize_url"] = f"{self.url}/authorize"
        return {"provider": "other", "flow": flow, "client_id": self.client_id} | urls | values

    def takes(self, user: str, token: str) -> bool:
        """Whether a mail server should let this token in."""
        return self.access.get(token, 0) > time.time()

    def revoke(self, *, refresh: bool = False) -> None:
        """No access token that was given is valid any more, nor refresh token if said so."""
        self.access.clear()
        if refresh:
            self.refresh.clear()

    def give(self, *, refresh: bool = False) -> dict[str, Any]:
        """New tokens."""
        token = secrets.token_urlsafe(24)
        self.access[token] = time.time() + self.lifetime
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}
        if self.consent_lifetime:
            answer["refresh_token_expires_in"] = self.consent_lifetime
        if refresh:
            answer["refresh_token"] = secrets.token_urlsafe(24)
            self.refresh.add(str(answer["refresh_token"]))
        return answer

    def allow(self, url: str, *, decision: str = "allow") -> str:
        """What the person does on the page: where the browser is sent then."""
        query = {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
        return self.decide(query | {"decision": decision})

    def decide(self, form: dict[str, str]) -> str:
        """The answer to the page's form, as the address to go to."""
        answer = {"state": form["state"]}
        if form.get("decision") != "allow":
            error, description = self.deny or ("access_denied", "The user said no")
            answer |= {"error": error, "error_description": description}
        else:
            assert form["response_type"] == "code"
            assert form["code_challenge_method"] == "S256"
            code = secrets.token_urlsafe(16)
            self.codes[code] = form
            answer["code"] = code
        return f"{form['redirect_uri']}?{urlencode(answer)}"

    def token(self, form: dict[str, str], client: tuple[str, str]) -> tuple[int, dict[str, Any]]:
        """The token endpoint."""
        kept = {k: v for k, v in form.items() if k not in ("client_secret", "refresh_token")}
        self.asked.append(kept)
        if self.refuse:
            return 400, {"error": self.refuse[0], "error_description": self.refuse[1]}
        if client != (self.client_id, self.client_secret):
            return 401, {"error": "invalid_client", "error_description": "unknown client"}
        with self.lock:
            return self._grant(form)

    def _grant(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        kind = form.get("grant_type")
        if kind == "client_credentials":
            return 200, self.give()
        if kind == "refresh_token" and form.get("refresh_token") in self.refresh:
            if self.rotates:
                self.refresh.discard(form["refresh_token"])
            return 200, self.give(refresh=self.rotates)
        asked = self.codes.pop(form.get("code", ""), None)
        if kind == "authorization_code" and asked is not None:
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            same = form.get("redirect_uri") == asked["redirect_uri"]
            if same and challenge == asked["code_challenge"]:
                return 200, self.give(refresh=True)
        return 400, {"error": "invalid_grant", "error_description": "not so"}


class _Handler(BaseHTTPRequestHandler):
    it: IdentityProvider

    def do_GET(self) -> None:
        query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
        fields = "".join(
            f'<input type="hidden" name="{html.escape(k)}" value="{html.escape(v)}">'
            for k, v in query.items()
        )
        page = PAGE.format(
            client=html.escape(query.get("client_id", "?")),
            user=html.escape(query.get("login_hint", "?")),
            fields=fields,
        )
        self._answer(200, page.encode(), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {k: v[0] for k, v in parse_qs(body).items()}
        if urlsplit(self.path).path == "/authorize":
            self._go(self.it.decide(form))
            return
        time.sleep(self.it.delay)
        while self.it.hang.is_set():
            time.sleep(0.02)
        if self.it.redirect_to:
            self._go(self.it.redirect_to)
        elif self.it.body is not None:
            self._answer(200, self.it.body, "application/json")
        else:
            status, answer = self.it.token(form, self._client(form))
            self._answer(status, json.dumps(answer).encode(), "application/json")

    def _client(self, form: dict[str, str]) -> tuple[str, str]:
        given = self.headers.get("Authorization", "")
        if given.startswith("Basic "):
            name, _, secret = base64.b64decode(given[6:]).decode().partition(":")
            return unquote(name), unquote(secret)
        return form.get("client_id", ""), form.get("client_secret", "")

    def _go(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Nothing on the console."""
