"""A box opens with its key, for its thing, in its context, unchanged; nothing else opens it."""

import base64

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.errors import ConfigurationError, UnavailableError
from claimbus.events.sealing import (
    BOX_BYTES,
    NO_KEYS,
    BrokenBoxError,
    Cipher,
    KeyMissingError,
    Keys,
)
from tests.events.keys import NEW, OLD, OTHER, key, keys

THING = "claim Zm9yIHRlc3Rz"


def cipher(of: Keys, thing: str = THING) -> Cipher:
    found = of.encrypting(thing)
    assert found is not None
    return found


@given(st.binary(max_size=3000), st.text(min_size=1), st.binary())
def test_a_box_gives_back_what_was_put_in(data: bytes, thing: str, context: bytes) -> None:
    encrypting = cipher(keys(OLD), thing)
    box = encrypting.encrypt(data, context)
    assert len(box) == len(data) + BOX_BYTES
    assert keys(NEW, OLD).decrypting(thing, encrypting.key).decrypt(box, context) == data


@given(st.binary(max_size=100), st.data())
def test_a_flipped_bit_is_found(data: bytes, draw: st.DataObject) -> None:
    encrypting = cipher(keys(OLD))
    box = bytearray(encrypting.encrypt(data, b""))
    bit = draw.draw(st.integers(0, 8 * len(box) - 1))
    box[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BrokenBoxError, match=f"^{THING} is not what was encrypted$"):
        encrypting.decrypt(bytes(box), b"")


@given(st.binary(max_size=100), st.data())
def test_a_truncated_or_prolonged_box_is_found(data: bytes, draw: st.DataObject) -> None:
    encrypting = cipher(keys(OLD))
    box = encrypting.encrypt(data, b"")
    for broken in (box[: draw.draw(st.integers(0, len(box) - 1))], box + b"\0"):
        with pytest.raises(BrokenBoxError):
            encrypting.decrypt(broken, b"")


@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=3)), min_size=2, max_size=2, unique=True))
def test_another_thing_or_another_context_does_not_open_it(both: list[tuple[str, bytes]]) -> None:
    (thing, context), (other_thing, other_context) = both
    box = cipher(keys(OLD), thing).encrypt(b"data", context)
    with pytest.raises(BrokenBoxError):
        cipher(keys(OLD), other_thing).decrypt(box, other_context)


def test_another_key_does_not_open_it() -> None:
    box = cipher(keys(OLD)).encrypt(b"data", b"")
    for other in (NEW, OTHER):
        with pytest.raises(BrokenBoxError):
            cipher(keys(other)).decrypt(box, b"")


def test_equal_data_becomes_different_boxes() -> None:
    encrypting = cipher(keys(OLD))
    assert len({encrypting.encrypt(b"data", b"") for _ in range(100)}) == 100


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    before, both = keys(OLD), keys(NEW, OLD)
    box = cipher(before).encrypt(b"data", b"")
    assert cipher(both).key == cipher(keys(NEW)).key != cipher(before).key
    assert both.decrypting(THING, cipher(before).key).decrypt(box, b"") == b"data"


@pytest.mark.parametrize("present", [NO_KEYS, keys(NEW), keys(NEW, OTHER)])
def test_a_key_that_is_not_set_is_named_and_may_come_back(present: Keys) -> None:
    name = cipher(keys(OLD)).key
    with pytest.raises(KeyMissingError, match=f"key {name}, which CLAIMBUS_ENCRYPTION_KEYS") as missing:
        present.decrypting(THING, name)
    assert isinstance(missing.value, UnavailableError)
    assert missing.value.key.startswith("old.")


def test_a_derived_key_is_that_of_rfc_5869() -> None:
    expanded = HKDFExpand(SHA256(), length=32, info=f"claimbus {THING}".encode()).derive(bytes([1]) * 32)
    box = Cipher(THING, "x", expanded).encrypt(b"data", b"context")
    assert cipher(keys(OLD)).decrypt(box, b"context") == b"data"


def test_without_keys_nothing_is_encrypted() -> None:
    assert not NO_KEYS
    assert NO_KEYS.encrypting(THING) is None
    assert Keys.parse(" , ").names == ()


def test_keys_are_read_in_their_order_in_either_base64() -> None:
    urlsafe = "b:" + base64.urlsafe_b64encode(b"\xff" * 32).decode()
    found = Keys.parse(f"{key('a', 0)}, {urlsafe},")
    assert [name.partition(".")[0] for name in found.names] == ["a", "b"]
    assert found.first == found.names[0]
    assert found.names[1] == keys(key("b", 255)).first


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("AAAA", "a key has no ID"),
        (f"{OLD},{key('o/d', 1)}", "no ID of 1 to 32 letters"),
        (key("o" * 33, 1), "no ID of 1 to 32 letters"),
        (f"{OLD},{OTHER}", "has the ID old twice"),
        ("old:c2VjcmV0", "the key old has 6 bytes, not 32"),
        ("old:", "the key old has 0 bytes"),
        ("old:c2Vjc!!!mV0", "the key old is no Base64"),
        ("old:c2VjcmV0é", "the key old is no Base64"),
    ],
)
def test_wrong_keys_name_the_setting_and_are_not_quoted(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as wrong:
        Keys.parse(text)
    assert wrong.value.field == "CLAIMBUS_ENCRYPTION_KEYS"
    assert "c2Vjc" not in str(wrong.value)
    assert wrong.value.__suppress_context__ or wrong.value.__context__ is None


def test_no_repr_shows_a_key() -> None:
    shown = f"{keys(OLD)!r} {cipher(keys(OLD))!r}"
    assert "AQEB" not in shown
    assert "\\x01" not in shown
