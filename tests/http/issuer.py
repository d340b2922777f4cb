"""A real issuer (OIDC) on this machine: discovery, keys that rotate, and tokens in every state."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

_MADE: dict[tuple[str, int], Any] = {}


def private(algorithm: str, number: int = 0) -> Any:
    """A private key for the algorithm: made once, for it takes its time."""
    made = _MADE.get((algorithm, number))
    if made is None:
        if algorithm[:2] in ("RS", "PS"):
            made = rsa.generate_private_key(65537, 2048)
        elif algorithm == "EdDSA":
            made = ed25519.Ed25519PrivateKey.generate()
        else:
            made = ec.generate_private_key({"ES256": ec.SECP256R1, "ES384": ec.SECP384R1}[algorithm]())
        _MADE[algorithm, number] = made
    return made


def public_pem(key: Any) -> bytes:
    made: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return made


class Issuer:
    """Signs, publishes, rotates, falls silent."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.keys: dict[str, tuple[str, Any]] = {}
        self.asked: list[str] = []
        self.away = False
        self.answers: dict[str, Any] = {}
        """Path -> what is answered there in place of what should be."""
        self._turn = -1
        self.rotate("first")

    def rotate(self, kid: str, algorithm: str = "RS256", *, keep: bool = False) -> None:
        """Publishes a new key, beside those of before or in their place."""
        self._turn += 1
        self.keys = {**(self.keys if keep else {}), kid: (algorithm, private(algorithm, self._turn % 3))}

    def jwks(self) -> dict[str, Any]:
        keys = []
        for kid, (algorithm, key) in self.keys.items():
            made = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
            keys.append({**made, "kid": kid, "use": "sig", "alg": algorithm})
        return {"keys": keys}

    def token(self, *, kid: str | None = None, head: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token by the newest key, or the one named; a claim of None is left out."""
        kid = kid or list(self.keys)[-1]
        algorithm, key = self.keys[kid]
        now = claims.pop("now", time.time())
        said = {"iss": self.url, "aud": "mainstay", "sub": "ada@example.com", "iat": now, "exp": now + 600, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid, **(head or {})})


def part(value: Any) -> str:
    return (
        base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode().strip("=")
    )


@contextmanager
def issuing() -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            documents = {
                "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"},
                "/keys": issuer.jwks(),
            }
            found = issuer.answers.get(self.path, documents.get(self.path))
            if isinstance(found, str):
                self.send_response(302)
                self.send_header("Location", found)
                self.end_headers()
                return
            self.send_response(503 if issuer.away else 404 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
