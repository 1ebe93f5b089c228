"""Signed room tokens: who may enter which room, as whom, with which rights, and when.

A token is a JWT (RFC 7519, HS256) signed with a key that this server keeps under its data directory, readable by its
owner alone. Every claim is required. Two ways of taking it back: one token by its ``jti``, or all tokens of a room by
raising the room's epoch, which every token repeats. Both are appended to a small file before they count, so a restart
does not forget them, and both are forgotten once every token they could mean has expired. Times are unix seconds;
``now`` comes in.
"""

import errno
import os
import secrets
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Annotated, Final

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from msgspec import Meta, Struct

MAX_LIFETIME_S: Final = 7 * 24 * 3600
CLOCK_SKEW_S: Final = 10  # a token may come from another machine, whose clock is a little ahead
_AUDIENCE: Final = "wadud.room"
_ALGORITHM: Final = "HS256"
_KEY_BYTES: Final = 32
MAX_REVOCATIONS: Final = 200_000
_COMPACT_AFTER_LINES: Final = 10_000

_Text = Annotated[str, Meta(min_length=1, max_length=128)]


class TokenError(Exception):
    """The token does not open the room.

    ``code`` is an error code of wadud.v1: bad_token, token_expired, token_not_yet_valid or token_revoked.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Claims(Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says. ``identity`` is one person in one room; ``epoch`` is the room's when the token was signed,
    which was at ``iat``, to fractions of a second; 0 when it does not say."""

    room: _Text
    identity: _Text
    name: Annotated[str, Meta(max_length=256)]
    role: Annotated[str, Meta(pattern="^(host|guest)$")]
    rights: Annotated[tuple[_Text, ...], Meta(max_length=16)]
    nbf: int
    exp: int
    jti: _Text
    epoch: int
    aud: Annotated[str, Meta(pattern=f"^{_AUDIENCE}$")]
    iat: float = 0.0

    @property
    def signed_at(self) -> float:
        """Unix seconds, at the latest."""
        return self.iat or self.nbf


class _Revoked(Struct, frozen=True, omit_defaults=True, tag_field="what", tag="token"):
    jti: str
    until: int
    room: str | None = None


class _Raised(Struct, frozen=True, tag_field="what", tag="room"):
    room: str
    epoch: int
    until: int


class Revocations:
    """What was taken back: in memory for the check, in an append-only file (one JSON object per line) for a restart."""

    def __init__(self, path: Path, now: float) -> None:
        self._path = path
        self._tokens: dict[tuple[str, str | None], int] = {}
        self._rooms: dict[str, tuple[int, int]] = {}
        self._lines = 0
        self._load(now)

    def __len__(self) -> int:
        return len(self._tokens) + len(self._rooms)

    def revoke(self, jti: str, until: int, now: float, room: str | None = None) -> None:
        """Refuse this token from now on. ``until``: when it would have expired. ``room``: only if it is for that one,
        which a bare id does not say. OSError when it cannot be written."""
        if (jti, room) in self._tokens:
            return
        self._append(_Revoked(jti, until, room), now)
        self._tokens[jti, room] = until

    def raise_epoch(self, room: str, now: float) -> int:
        """Refuse every token of ``room`` that was signed until now; returns the new epoch. OSError as in `revoke`."""
        # Milliseconds, not a count: a count would begin again after it was forgotten and meet tokens of its first life.
        epoch = max(self.epoch(room) + 1, int(now * 1000))
        until = int(now) + MAX_LIFETIME_S
        self._append(_Raised(room, epoch, until), now)
        self._rooms[room] = (epoch, until)
        return epoch

    def epoch(self, room: str) -> int:
        return self._rooms.get(room, (0, 0))[0]

    def revoked(self, jti: str, room: str | None = None) -> bool:
        return (jti, None) in self._tokens or (jti, room) in self._tokens

    def _forget(self, now: float) -> None:
        self._tokens = {key: until for key, until in self._tokens.items() if until > now}
        self._rooms = {room: entry for room, entry in self._rooms.items() if entry[1] > now}

    def _load(self, now: float) -> None:
        if not self._path.exists():
            return
        for line in self._path.read_bytes().splitlines():
            try:
                entry = msgspec.json.decode(line, type=_Revoked | _Raised)
            except msgspec.MsgspecError:
                continue  # the last line of a process that was killed while it wrote
            if isinstance(entry, _Revoked):
                self._tokens[entry.jti, entry.room] = entry.until
            else:
                self._rooms[entry.room] = (entry.epoch, entry.until)
        self._forget(now)
        self._compact()

    def _compact(self) -> None:
        lines: list[bytes] = [
            msgspec.json.encode(_Revoked(jti, until, room)) for (jti, room), until in self._tokens.items()
        ]
        lines += [msgspec.json.encode(_Raised(room, *entry)) for room, entry in self._rooms.items()]
        write_private(self._path, b"".join(line + b"\n" for line in lines))
        self._lines = len(lines)

    def _append(self, entry: _Revoked | _Raised, now: float) -> None:
        if self._lines >= 2 * len(self) + _COMPACT_AFTER_LINES or len(self) >= MAX_REVOCATIONS:
            self._forget(now)
            self._compact()
        if len(self) >= MAX_REVOCATIONS:
            raise OSError(errno.ENOSPC, "too many revocations")
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            size = file.tell()
            try:
                _write_all(file, msgspec.json.encode(entry) + b"\n")
            except OSError:
                file.truncate(size)  # the next line is not to begin behind half of this one
                raise
        self._lines += 1


class TokenAuthority:
    """Signs and verifies room tokens.

    authority = TokenAuthority.open(Path("data"), now=time.time())
    token, claims = authority.issue(room="x7", identity="g1", name="Amina", role="guest", rights=["publish"], now=now)
    """

    def __init__(self, key: bytes, revocations: Revocations) -> None:
        self.key = key
        self._signing = OctKey.import_key(key)
        self.revocations = revocations

    @classmethod
    def open(cls, data: Path, now: float) -> "TokenAuthority":
        """Read key and revocations under ``data``, made when missing. OSError when that cannot be done."""
        return cls(private_key(data / "token.key"), Revocations(data / "revoked.jsonl", now))

    def issue(
        self,
        *,
        room: str,
        identity: str,
        name: str,
        role: str,
        rights: Sequence[str],
        now: float,
        lifetime_s: int = 12 * 3600,
        not_before: int | None = None,
    ) -> tuple[str, Claims]:
        """A signed token and what it says. ValueError when the lifetime is longer than `MAX_LIFETIME_S`."""
        begin = int(now) if not_before is None else not_before
        end = begin + lifetime_s
        if not 0 < end - int(now) <= MAX_LIFETIME_S:
            raise ValueError(f"a token must expire within {MAX_LIFETIME_S} s")
        claims = Claims(
            room=room,
            identity=identity,
            name=name,
            role=role,
            rights=tuple(rights),
            nbf=begin,
            exp=end,
            jti=secrets.token_urlsafe(12),
            epoch=self.revocations.epoch(room),
            aud=_AUDIENCE,
            iat=now,
        )
        payload = msgspec.json.encode(claims)
        msgspec.json.decode(payload, type=Claims)  # within their limits, as whoever verifies it demands
        header = {"alg": _ALGORITHM, "typ": "JWT"}
        return jws.serialize_compact(header, payload, self._signing, algorithms=[_ALGORITHM]), claims

    def verify(self, token: str, now: float) -> Claims:
        """What ``token`` says when it is ours and holds now. TokenError otherwise."""
        try:
            payload = jws.deserialize_compact(token, self._signing, algorithms=[_ALGORITHM]).payload
            claims = msgspec.json.decode(payload, type=Claims)
        except (JoseError, ValueError, TypeError, RecursionError):  # TypeError: of a header whose values are no texts
            raise TokenError("bad_token") from None
        if now >= claims.exp:
            raise TokenError("token_expired")
        # One that begins when it was signed has begun: if it seems to come from the future, our clock was set back.
        if claims.nbf > now + CLOCK_SKEW_S and claims.nbf > claims.iat:
            raise TokenError("token_not_yet_valid")
        if self.stale(claims):
            raise TokenError("token_revoked")
        return claims

    def stale(self, claims: Claims) -> bool:
        """Whether the token was taken back."""
        return self.revocations.revoked(claims.jti, claims.room) or claims.epoch < self.revocations.epoch(claims.room)


def private_key(path: Path) -> bytes:
    """The key in ``path``, made when missing. ValueError when the file is damaged or others may read it."""
    if not path.exists():
        write_private(path, secrets.token_bytes(_KEY_BYTES))
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path} can be read by others: chmod 600 {path}")
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{path} is damaged: remove it and every token signed with it is void")
    return key


def write_private(path: Path, content: bytes) -> None:
    """Replace ``path`` in one step by a file that only its owner can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            _write_all(file, content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _write_all(file: FileIO, content: bytes) -> None:
    """To the disk, or OSError: a disk that is nearly full takes a part of it without a word."""
    while content:
        content = content[file.write(content) :]
    os.fsync(file.fileno())
