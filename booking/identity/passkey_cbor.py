"""CBOR of authenticators, without tags.

What a browser sends of a passkey is CBOR in the form of CTAP2, which has no tags (CTAP 2.1 section 8, "message
encoding"). cbor2 knows many, and decodes them into whatever they name: a regular expression (tag 35) of 6 KB is
compiled for two seconds on the event loop, for anybody with an account. py_webauthn calls cbor2 without a choice, so
the module through which it does so is given a cbor2 here that refuses every tag.
"""

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, NoReturn

import cbor2

# Those that cbor2 decodes by itself; others come to the hook. A test tries all numbers.
_KNOWN: Final = (
    *range(6), 25, 28, 29, 30, 35, 36, 37, 43, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip


def _refuse(*_: object) -> NoReturn:
    raise ValueError("authenticators send no tags")


_DECODERS: Final[dict[int, Callable[..., object]]] = dict.fromkeys(_KNOWN, _refuse)


def loads(data: bytes, *, allow_duplicate_keys: bool) -> Any:
    """`cbor2.loads` of an item without tags. ValueError, cbor2.CBORDecodeError."""
    return cbor2.loads(
        data,
        tag_hook=_refuse,
        semantic_decoders=_DECODERS,
        max_depth=16,
        allow_duplicate_keys=allow_duplicate_keys,
    )


def install() -> None:
    """Have py_webauthn decode with `loads`."""
    module = importlib.import_module("webauthn.helpers.parse_cbor")
    vars(module)["cbor2"] = SimpleNamespace(loads=loads)
