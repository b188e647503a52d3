"""Hotkeys: ss58 addresses of sr25519 keys, and the signatures that they make."""

import hashlib

import base58
import sr25519

PREFIX = 42
CHARACTERS = 48
CHECKSUM_BYTES = 2
KEY_BYTES = 32
SIGNATURE_BYTES = 64


class InvalidHotkey(ValueError):
    """The text is no address of a key that may sign."""


def public_key(hotkey: str) -> bytes:
    """The 32 bytes behind an address. Raises InvalidHotkey.

    Only the generic prefix is taken, spelled the one way there is, since accounts are found by the
    address as it is written.
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
    """Whether the key signed the message, as it is or wrapped as browser wallets do."""
    plain = message.encode()
    try:
        key = public_key(hotkey)
        wrapped = b"<Bytes>%b</Bytes>" % plain
        return any(sr25519.verify(signature, each, key) for each in (plain, wrapped))
    except ValueError:  # of the library: wrong lengths, no point of the curve, no marker
        return False
