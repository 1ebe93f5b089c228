"""Long-term and time-limited credentials: what is refused, and until when."""

import base64
import hashlib
import hmac
import math

import pytest

from tests.turn.world import PREVIOUS, REALM, SECRET
from tests.vectors import stun as vectors
from turn import attributes as names
from turn.credentials import MAX_CACHED, MAX_REVOKED, Credentials, Secrets, issue, long_term_key
from turn.stun import Message, MessageClass, build, parse

NOW = 1_800_000_000


def request(username: str | bytes, key: bytes) -> Message:
    name = username.encode() if isinstance(username, str) else username
    return parse(build(names.ALLOCATE, MessageClass.REQUEST, bytes(12), [(names.USERNAME, name)], key=key))


def visit(subject: str = "room-1", expires_at: int = NOW + 60, secret: str = SECRET) -> Message:
    name, password = issue(secret, subject, expires_at)
    return request(name, long_term_key(name, REALM, password))


@pytest.fixture
def credentials() -> Credentials:
    return Credentials(REALM, {"nurse": "pass word"}, Secrets(SECRET, PREVIOUS))


def test_a_credential_is_what_the_draft_says() -> None:
    name, password = issue("secret", "room:alice", 1234)
    assert name == "1234:room:alice"
    assert password == base64.b64encode(hmac.new(b"secret", name.encode(), hashlib.sha1).digest()).decode()


def test_the_key_is_that_of_rfc_5769() -> None:
    user, realm, password = vectors.LONG_TERM_2_4
    credentials = Credentials(realm, {user: password})
    account = credentials.authenticate(parse(vectors.REQUEST_2_4), NOW)
    assert account is not None
    assert (account.owner, account.expires_at) == (user, math.inf)


def test_users_of_the_list_are_known_by_their_password(credentials: Credentials) -> None:
    account = credentials.authenticate(request("nurse", long_term_key("nurse", REALM, "pass word")), NOW)
    assert account is not None
    assert account.owner == "nurse"
    # other spaces, and letters put together from parts, are the same password (RFC 8265)
    assert long_term_key("nurse", REALM, "pass\u00a0word") == account.key
    assert long_term_key("n", REALM, "e\u0301") == long_term_key("n", REALM, "\u00e9")
    for name, password in (("nurse", "wrong"), ("porter", "pass word"), ("", "pass word"), ("nurs", "pass word")):
        assert credentials.authenticate(request(name, long_term_key(name, REALM, password)), NOW) is None


def test_a_request_without_name_or_integrity_is_nobodys(credentials: Credentials) -> None:
    key = long_term_key("nurse", REALM, "pass word")
    assert credentials.authenticate(parse(build(3, MessageClass.REQUEST, bytes(12), key=key)), NOW) is None
    bare = build(3, MessageClass.REQUEST, bytes(12), [(names.USERNAME, b"nurse")])
    assert credentials.authenticate(parse(bare), NOW) is None


@pytest.mark.parametrize("secret", [SECRET, PREVIOUS])
def test_both_secrets_are_live_while_one_is_replaced(credentials: Credentials, secret: str) -> None:
    account = credentials.authenticate(visit(secret=secret), NOW)
    assert account is not None
    assert (account.owner, account.expires_at) == (":room-1", NOW + 60)


def test_a_secret_of_before_yesterday_is_dead(credentials: Credentials) -> None:
    assert credentials.authenticate(visit(secret=PREVIOUS), NOW) is not None
    credentials.rotate(Secrets("the secret of tomorrow", SECRET))
    assert credentials.authenticate(visit(secret=PREVIOUS), NOW) is None, "not even from the cache"
    assert credentials.authenticate(visit(secret=SECRET), NOW) is not None
    credentials.rotate(None)
    assert credentials.authenticate(visit(secret=SECRET), NOW) is None


def test_expiry_counts_with_every_request(credentials: Credentials) -> None:
    assert credentials.authenticate(visit(), NOW + 59.9) is not None
    assert credentials.authenticate(visit(), NOW + 60) is None
    assert credentials.authenticate(visit("another"), NOW + 60) is None, "never seen before"


def test_a_changed_expiry_or_subject_breaks_the_password(credentials: Credentials) -> None:
    name, password = issue(SECRET, "alice", NOW + 60)
    for changed in (f"{NOW + 61}:alice", f"{NOW + 60}:bob", f"0{name}", f"{name} ", f"{NOW + 60}:"):
        assert credentials.authenticate(request(changed, long_term_key(changed, REALM, password)), NOW) is None
        assert credentials.authenticate(request(changed, long_term_key(name, REALM, password)), NOW) is None
    assert credentials.authenticate(request(name, long_term_key(name, "elsewhere", password)), NOW) is None


@pytest.mark.parametrize(
    "name", [b"\xff\xff", b"1800000060:\xff", b":alice", b"-5:alice", b"+1:a", b"1e9:a", b"9" * 400 + b":a", b"1" * 600]
)
def test_names_that_are_none_are_refused(credentials: Credentials, name: bytes) -> None:
    assert credentials.authenticate(request(name, b"any key"), NOW) is None


def test_a_visitor_is_never_taken_for_a_user_of_the_list(credentials: Credentials) -> None:
    account = credentials.authenticate(visit("nurse"), NOW)
    assert account is not None
    assert account.owner != "nurse"
    with pytest.raises(ValueError):
        Credentials(REALM, {":nurse": "x"})


def test_a_revoked_subject_is_refused_with_every_credential(credentials: Credentials) -> None:
    assert credentials.authenticate(visit("alice"), NOW) is not None
    credentials.revoke("alice")
    assert credentials.authenticate(visit("alice"), NOW) is None
    assert credentials.authenticate(visit("alice", NOW + 90), NOW) is None
    assert credentials.authenticate(visit("bob"), NOW) is not None
    credentials.restore("alice")
    assert credentials.authenticate(visit("alice"), NOW) is not None


def test_strangers_cannot_fill_the_cache(credentials: Credentials) -> None:
    for number in range(50):
        credentials.authenticate(request(f"{NOW + 60}:{number}", b"wrong"), NOW)
    assert len(credentials._proven) == 0
    for number in range(MAX_CACHED + 5):
        credentials.authenticate(visit(str(number)), NOW)
    assert len(credentials._proven) == MAX_CACHED


def test_what_is_revoked_is_remembered_within_bounds(credentials: Credentials) -> None:
    for number in range(MAX_REVOKED + 5):
        credentials.revoke(str(number))
    assert len(credentials._revoked) == MAX_REVOKED
    assert credentials.authenticate(visit(str(MAX_REVOKED)), NOW) is None


@pytest.mark.parametrize("realm", ["", "x" * 764])
def test_a_realm_that_fits_no_attribute_is_told(realm: str) -> None:
    with pytest.raises(ValueError):
        Credentials(realm)


def test_empty_secrets_and_endless_subjects_are_told() -> None:
    for wrong in (("", None), ("a", "")):
        with pytest.raises(ValueError):
            Secrets(*wrong)
    with pytest.raises(ValueError):
        issue(SECRET, "x" * 500, NOW)
    with pytest.raises(ValueError):
        issue(SECRET, "x", -1)
