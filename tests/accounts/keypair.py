"""Keypairs of the library itself, and the headers that a signing client sends."""

import hashlib
import time
from typing import Any

import base58
import sr25519


class Keypair:
    def __init__(self, seed: int = 1) -> None:
        self.public, self.secret = sr25519.pair_from_seed(bytes([seed] * 32))
        self.hotkey = ss58(self.public)

    def sign(self, message: str) -> bytes:
        signature: bytes = sr25519.sign((self.public, self.secret), message.encode())
        return signature

    def headers(
        self, content: str | bytes = "images", *, nonce: object = None, **changes: str
    ) -> dict[str, Any]:
        """As Django's test client takes them. Bytes are a body, text is a purpose."""
        if isinstance(content, bytes):
            content = hashlib.sha256(content).hexdigest()
        nonce = int(time.time()) if nonce is None else nonce
        signature = self.sign(f"{self.hotkey}:{nonce}:{content}").hex()
        made = {
            "HTTP_X_CHUTES_HOTKEY": self.hotkey,
            "HTTP_X_CHUTES_NONCE": str(nonce),
            "HTTP_X_CHUTES_SIGNATURE": signature,
        }
        return made | {f"HTTP_X_CHUTES_{name.upper()}": value for name, value in changes.items()}


def ss58(key: bytes, prefix: int = 42) -> str:
    body = bytes([prefix]) + key
    checksum = hashlib.blake2b(b"SS58PRE" + body).digest()[:2]
    return base58.b58encode(body + checksum).decode()
