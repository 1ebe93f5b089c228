"""Room tokens: signed, bounded in time, revocable, remembered over a restart."""

import base64
import json
import os
import resource
import stat
from pathlib import Path
from typing import Any

import jwt
import pytest

from backplane import tokens
from backplane.tokens import CLOCK_SKEW_S, MAX_LIFETIME_S, Claims, Revocations, TokenAuthority, TokenError, private_key

NOW = 1_800_000_000.0
KEY = b"k" * 32


@pytest.fixture
def authority(tmp_path: Path) -> TokenAuthority:
    return TokenAuthority(KEY, Revocations(tmp_path / "revoked.jsonl", NOW))


def issue(authority: TokenAuthority, **change: Any) -> tuple[str, Claims]:
    fields: dict[str, Any] = {
        "room": "room",
        "identity": "amina",
        "name": "آمنہ",
        "role": "guest",
        "rights": ["publish"],
        "now": NOW,
    }
    return authority.issue(**fields | change)


def refusal(authority: TokenAuthority, token: str, now: float = NOW) -> str:
    with pytest.raises(TokenError) as error:
        authority.verify(token, now)
    return error.value.code


def test_a_token_says_what_was_put_in(authority: TokenAuthority) -> None:
    token, claims = issue(authority, lifetime_s=60)
    assert authority.verify(token, NOW) == claims
    assert (claims.room, claims.identity, claims.name, claims.role) == ("room", "amina", "آمنہ", "guest")
    assert (claims.rights, claims.nbf, claims.exp) == (("publish",), NOW, NOW + 60)


def test_two_tokens_have_different_ids(authority: TokenAuthority) -> None:
    assert issue(authority)[1].jti != issue(authority)[1].jti


def test_a_token_ends_at_its_second(authority: TokenAuthority) -> None:
    token, _ = issue(authority, lifetime_s=60)
    authority.verify(token, NOW + 59.9)
    assert refusal(authority, token, NOW + 60) == "token_expired"


def test_a_token_begins_when_it_says_give_or_take_the_clocks(authority: TokenAuthority) -> None:
    token, _ = issue(authority, not_before=int(NOW) + 100)
    assert refusal(authority, token, NOW + 100 - CLOCK_SKEW_S - 1) == "token_not_yet_valid"
    authority.verify(token, NOW + 100 - CLOCK_SKEW_S)


def test_a_token_lives_no_longer_than_revocations_are_kept(authority: TokenAuthority) -> None:
    with pytest.raises(ValueError):
        issue(authority, lifetime_s=MAX_LIFETIME_S + 1)
    with pytest.raises(ValueError):
        issue(authority, lifetime_s=0)


@pytest.mark.parametrize("change", [{"room": ""}, {"room": "x" * 129}, {"role": "king"}, {"name": "x" * 300}])
def test_claims_out_of_their_limits_are_not_signed(authority: TokenAuthority, change: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        issue(authority, **change)


def test_every_altered_character_is_noticed(authority: TokenAuthority) -> None:
    token, claims = issue(authority)
    for position in range(len(token)):
        altered = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
        try:
            accepted = authority.verify(altered, NOW)
        except TokenError:
            continue
        assert accepted == claims, "only unused bits of base64 may differ"


def forged(key: bytes, algorithm: str, payload: dict[str, Any], **headers: object) -> str:
    """By an independent library."""
    return jwt.encode(payload, key, algorithm=algorithm, headers=headers)


def test_other_keys_algorithms_and_purposes_are_refused(authority: TokenAuthority) -> None:
    token, _ = issue(authority)
    payload: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    assert refusal(authority, forged(b"l" * 32, "HS256", payload)) == "bad_token"
    assert refusal(authority, forged(KEY * 2, "HS512", payload)) == "bad_token"
    assert refusal(authority, forged(KEY, "HS256", payload | {"aud": "wadud.other"})) == "bad_token"
    for missing in ("epoch", "aud", "exp"):
        without = {claim: value for claim, value in payload.items() if claim != missing}
        assert refusal(authority, forged(KEY, "HS256", without)) == "bad_token"
    stranger = {"kty": "oct", "k": base64.urlsafe_b64encode(b"l" * 32).decode().rstrip("=")}
    assert refusal(authority, forged(b"l" * 32, "HS256", payload, jwk=stranger)) == "bad_token"
    assert refusal(authority, forged(KEY, "HS256", payload, crit=["exp"])) == "bad_token"
    assert refusal(authority, forged(KEY, "HS256", payload, crit=["b64"], b64=False)) == "bad_token"
    assert refusal(authority, forged(KEY, "HS256", payload | {"more": 1})) == "bad_token"
    assert refusal(authority, forged(KEY, "HS256", payload | {"exp": "never"})) == "bad_token"
    head, body, _ = token.split(".")
    for strange in ('["alg"]', '"alg"', '{"alg":"HS256","crit":5}', '{"alg":"HS256","crit":[[]]}', "null", "7"):
        first = base64.urlsafe_b64encode(strange.encode()).decode().rstrip("=")
        assert refusal(authority, f"{first}.{body}.AAAA") == "bad_token", strange
    deep = base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
    assert refusal(authority, f"{none}.{body}.") == "bad_token"
    for junk in ("", ".", "..", "a.b.c", f"{head}.{body}", "é.é.é", "\ud800", "x" * 4096, f"{deep}.{body}.x"):
        assert refusal(authority, junk) == "bad_token"


def test_a_revoked_token_is_refused_and_others_are_not(authority: TokenAuthority) -> None:
    token, claims = issue(authority)
    other, _ = issue(authority)
    authority.revocations.revoke(claims.jti, claims.exp, NOW)
    assert refusal(authority, token) == "token_revoked"
    authority.verify(other, NOW)


def test_an_id_revoked_in_one_room_is_good_in_another_also_after_a_restart(tmp_path: Path) -> None:
    first = TokenAuthority.open(tmp_path, NOW)
    token, claims = issue(first)
    first.revocations.revoke(claims.jti, claims.exp, NOW, "other")
    first.verify(token, NOW)
    TokenAuthority.open(tmp_path, NOW + 1).verify(token, NOW + 1)
    first.revocations.revoke(claims.jti, claims.exp, NOW, "room")
    assert refusal(first, token) == "token_revoked"
    assert refusal(TokenAuthority.open(tmp_path, NOW + 1), token, NOW + 1) == "token_revoked"


def test_raising_the_epoch_refuses_every_older_token_of_the_room(authority: TokenAuthority) -> None:
    token, _ = issue(authority)
    other, _ = issue(authority, room="other")
    authority.revocations.raise_epoch("room", NOW)
    assert refusal(authority, token) == "token_revoked"
    authority.verify(other, NOW)
    again, _ = issue(authority)
    authority.verify(again, NOW)
    authority.revocations.raise_epoch("room", NOW)
    assert refusal(authority, again) == "token_revoked"


def test_a_forgotten_epoch_does_not_let_old_tokens_in_again(tmp_path: Path) -> None:
    path = tmp_path / "revoked.jsonl"
    first = TokenAuthority(KEY, Revocations(path, NOW))
    first.revocations.raise_epoch("room", NOW)
    late = NOW + MAX_LIFETIME_S - 1
    token, _ = issue(first, now=late)
    later = NOW + MAX_LIFETIME_S + 1
    second = TokenAuthority(KEY, Revocations(path, later))
    assert len(second.revocations) == 0, "no token of the first epoch can be alive"
    second.verify(token, later)
    second.revocations.raise_epoch("room", later)
    assert refusal(second, token, later) == "token_revoked"


def test_a_restart_forgets_nothing_that_matters(tmp_path: Path) -> None:
    first = TokenAuthority.open(tmp_path, NOW)
    one, claims = issue(first)
    two, _ = issue(first, room="other")
    three, _ = issue(first, room="third")
    first.revocations.revoke(claims.jti, claims.exp, NOW)
    first.revocations.raise_epoch("other", NOW)
    second = TokenAuthority.open(tmp_path, NOW + 1)
    assert refusal(second, one, NOW + 1) == "token_revoked"
    assert refusal(second, two, NOW + 1) == "token_revoked"
    second.verify(three, NOW + 1)
    assert len(TokenAuthority.open(tmp_path, claims.exp + 1).revocations) == 1, "the expired token needs no entry"


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "revoked.jsonl"
    Revocations(path, NOW).revoke("one", int(NOW) + 60, NOW)
    with path.open("ab") as file:
        file.write(b'{"what":"token","jti":"two","un')
    assert Revocations(path, NOW).revoked("one")


def test_revocations_are_bounded_in_memory_and_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_REVOCATIONS", 50)
    monkeypatch.setattr(tokens, "_COMPACT_AFTER_LINES", 10)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "revoked.jsonl"
    kept = Revocations(path, NOW)
    for number in range(1000):
        kept.revoke(f"jti {number}", int(NOW) + number + 20, NOW + number)
    assert len(kept) <= 50
    assert path.read_bytes().count(b"\n") <= 130
    for number in range(60):
        try:
            kept.revoke(f"more {number}", int(NOW) + 10_000, int(NOW) + 1000)
        except OSError:
            break
    else:
        pytest.fail("a full table must refuse, not forget")
    assert kept.revoked("more 0")


def test_key_and_revocations_are_private(tmp_path: Path) -> None:
    authority = TokenAuthority.open(tmp_path / "data", NOW)
    authority.revocations.revoke("x", int(NOW) + 1, NOW)
    for name in ("token.key", "revoked.jsonl"):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_the_key_stays_the_same_and_is_nobody_elses(tmp_path: Path) -> None:
    key = private_key(tmp_path / "one")
    assert private_key(tmp_path / "one") == key
    assert private_key(tmp_path / "two") != key
    (tmp_path / "one").chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        private_key(tmp_path / "one")


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(ValueError, match="damaged"):
        private_key(tmp_path / "key")


def test_half_a_line_is_no_revocation(tmp_path: Path) -> None:
    """A disk that is nearly full takes a part. That is told, and does not spoil the next line."""
    path = tmp_path / "revoked.jsonl"
    kept = Revocations(path, NOW)
    kept.revoke("zeroth", int(NOW) + 1000, NOW)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        with pytest.raises(OSError, match="large"):
            kept.revoke("first", int(NOW) + 1000, NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept.revoke("second", int(NOW) + 1000, NOW)
    for each in (kept, Revocations(path, NOW)):
        assert [jti for jti in ("zeroth", "first", "second") if each.revoked(jti)] == ["zeroth", "second"]


def test_a_token_outlives_a_clock_that_is_set_back(authority: TokenAuthority) -> None:
    """It began when it was signed, so it has begun, whatever the clock says now."""
    token, claims = issue(authority)
    assert authority.verify(token, NOW - 86_400) == claims
    later, _ = issue(authority, not_before=int(NOW) + 3600)
    assert refusal(authority, later, NOW - 86_400) == "token_not_yet_valid"
