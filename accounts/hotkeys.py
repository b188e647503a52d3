"""Hotkeys: ss58 addresses of sr25519 keys, and verification of their signatures."""

import hashlib

import base58
import sr25519

PREFIX = 42
CHARACTERS = 48
CHECKSUM_BYTES = 2
KEY_BYTES = 32
SIGNATURE_BYTES = 64


class InvalidHotkey(ValueError):
    """The text is not the address of a key that may sign."""


def public_key(hotkey: str) -> bytes:
    """The 32-byte public key of an ss58 address. Raises InvalidHotkey.

    Only the generic prefix (42) and the canonical spelling are accepted, because accounts are
    looked up by the address as text.
    """
    if len(hotkey) > CHARACTERS:
        raise InvalidHotkey("is too long for an ss58 address")
    try:
        raw = base58.b58decode(hotkey)
    except ValueError:
        raise InvalidHotkey("is not base58") from None
    body, checksum = raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
    key = body[1:]
    if len(key) != KEY_BYTES or body[0] != PREFIX or base58.b58encode(raw).decode() != hotkey:
        raise InvalidHotkey(f"is not an ss58 address with the prefix {PREFIX}")
    if hashlib.blake2b(b"SS58PRE" + body).digest()[:CHECKSUM_BYTES] != checksum:
        raise InvalidHotkey("has a wrong checksum: is a letter wrong?")
    if not any(key):
        raise InvalidHotkey("is the zero key, for which anybody can sign")
    return key


def verify(*, hotkey: str, message: str, signature: bytes) -> bool:
    """Whether the key signed the message, plain or in the `<Bytes>` wrapper of browser wallets."""
    plain = message.encode()
    try:
        key = public_key(hotkey)
        wrapped = b"<Bytes>%b</Bytes>" % plain
        return any(sr25519.verify(signature, each, key) for each in (plain, wrapped))
    except ValueError:  # from the library: wrong length, invalid curve point, no marker
        return False
