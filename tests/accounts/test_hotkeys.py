import pytest

from accounts.hotkeys import InvalidHotkey, public_key, verify
from tests.accounts.keypair import Keypair, ss58

KEY = Keypair()
ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
ZERO = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"


def test_an_address_is_decoded() -> None:
    published = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d"
    assert public_key(ALICE).hex() == published
    assert public_key(KEY.hotkey) == KEY.public


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "not an ss58 address"),
        ("5", "not an ss58 address"),
        (ALICE[:-1], "not an ss58 address"),
        (ALICE[:-1] + "Z", "checksum"),
        (ALICE + " ", "too long"),
        (ALICE[1:] + "\n", "not an ss58 address"),
        ("1" + ALICE[1:], "not an ss58 address"),
        (ALICE[:-1] + "0", "not base58"),
        (ALICE[:-1] + "é", "not base58"),
        (ss58(KEY.public, prefix=0), "prefix 42"),
        (ss58(KEY.public, prefix=2), "prefix 42"),
        (ss58(KEY.public[:-1]), "not an ss58 address"),
        ("1" * 100_000, "too long"),
        (ZERO, "zero key"),
    ],
)
def test_what_is_no_address_is_refused(address: str, why: str) -> None:
    with pytest.raises(InvalidHotkey, match=why):
        public_key(address)
    assert verify(hotkey=address, message="m", signature=KEY.sign("m")) is False


@pytest.mark.parametrize("message", ["", "a:b", "ключ", "x" * 10_000])
def test_a_signature_of_the_message_is_good(message: str) -> None:
    assert verify(hotkey=KEY.hotkey, message=message, signature=KEY.sign(message))


def test_a_wrapped_signature_is_good() -> None:
    signature = KEY.sign("<Bytes>message</Bytes>")
    assert verify(hotkey=KEY.hotkey, message="message", signature=signature)


def test_no_other_signature_is_good() -> None:
    signature = KEY.sign("message")
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    unmarked = signature[:-1] + bytes([signature[-1] & 0x7F])
    for bad in (b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64, flipped, unmarked):
        assert verify(hotkey=KEY.hotkey, message="message", signature=bad) is False
    assert verify(hotkey=KEY.hotkey, message="messagE", signature=signature) is False
    assert verify(hotkey=Keypair(2).hotkey, message="message", signature=signature) is False
    off_curve = ss58(b"\xff" * 32)
    assert verify(hotkey=off_curve, message="message", signature=signature) is False


def test_the_zero_key_signs_nothing() -> None:
    forged = bytes(63) + b"\x80"
    assert verify(hotkey=ZERO, message="anything", signature=forged) is False
