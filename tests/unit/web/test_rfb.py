"""VNC's password scheme, as RFC 6143 (7.2.2) has it."""

from __future__ import annotations

from panel.web import rfb

CHALLENGE = bytes(range(16))


def test_a_challenge_is_encrypted_with_des() -> None:
    # Known answers of DES itself (NBS special publication 500-20), with a key of zeroes.
    assert rfb.response(bytes(8), "").hex() == "8ca64de9c1b123a7"
    assert rfb.response(b"\x80" + bytes(7), "").hex() == "95f8a5e5dd31d900"


def test_the_password_is_the_key_with_the_bits_of_each_byte_reversed() -> None:
    # NBS 500-20, variable key: 0x80 as the first byte; reversed that is the character \x01.
    assert rfb.response(bytes(8), "\x01").hex() == "95a8d72813daa94d"


def test_only_the_first_eight_bytes_of_a_password_count() -> None:
    assert rfb.response(CHALLENGE, "12345678") == rfb.response(CHALLENGE, "123456789")
    assert rfb.response(CHALLENGE, "12345678") != rfb.response(CHALLENGE, "12345679")
