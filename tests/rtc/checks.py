"""ICE checks written by aioice, an implementation that is not ours: the oracle for what a worker answers."""

from aioice import stun

UFRAG = "abcd1234"
PASSWORD = "a-long-password-that-nobody-guesses".replace("-", "+")


def check(
    number: int = 1, *, ufrag: str = UFRAG, password: str = PASSWORD, nominate: bool = True, theirs: str = "them"
) -> bytes:
    """A check of a controlling agent; ``number`` makes its transaction id."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, number.to_bytes(12, "big"))
    message.attributes["USERNAME"] = f"{ufrag}:{theirs}"
    message.attributes["PRIORITY"] = 1_853_824_767
    message.attributes["ICE-CONTROLLING"] = 7
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password.encode())
    return bytes(message)


def answer(datagram: bytes, *, password: str = PASSWORD) -> stun.Message:
    """The parsed answer; ValueError when its integrity is not right."""
    message = stun.parse_message(datagram)
    if not message.check_message_integrity(password.encode()):
        raise ValueError("MESSAGE-INTEGRITY is not right")
    return message
