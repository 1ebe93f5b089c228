"""Compressed frames: raw DEFLATE (RFC 1951), one stream per message, in binary frames.

A description (SDP) of many lines says the same again and again: 52 kB of offer are 2.6 kB deflated, which is the
difference between a join and none on a link of 40 kbit/s. Who opened the socket with `COMPRESSED_SUBPROTOCOL` may send
any message in this form, and gets those of ours that are worth it. Nothing is kept between two messages, so an idle
socket costs no memory. The extension permessage-deflate (RFC 7692) would do the same a layer below, but Safari before
15.4 breaks on it, and the WebSocket reader of aiohttp keeps one inflater (40 KiB) per socket.
"""

import zlib
from typing import Final

from signalling.codes import ErrorCode, SignallingError
from signalling.messages import MAX_FRAME_BYTES, SUBPROTOCOL

COMPRESSED_SUBPROTOCOL: Final = f"{SUBPROTOCOL}.deflate"
COMPRESS_FROM_BYTES: Final = 1024
_RAW: Final = -zlib.MAX_WBITS


def deflate(frame: bytes) -> bytes:
    packer = zlib.compressobj(wbits=_RAW)
    return packer.compress(frame) + packer.flush()


def inflate(data: bytes) -> bytes:
    """One message. Stops at the limit of all frames, however much more would come.

    Raises:
        SignallingError: too_large; bad_message when ``data`` is not exactly one stream.
    """
    unpacker = zlib.decompressobj(wbits=_RAW)
    try:
        frame = unpacker.decompress(data, MAX_FRAME_BYTES + 1)
    except zlib.error:
        raise SignallingError(ErrorCode.BAD_MESSAGE, "This is no DEFLATE stream.") from None
    if len(frame) > MAX_FRAME_BYTES:
        raise SignallingError(ErrorCode.TOO_LARGE)
    if not unpacker.eof or unpacker.unused_data:
        raise SignallingError(ErrorCode.BAD_MESSAGE, "A binary frame holds one whole DEFLATE stream.")
    return frame
