"""SRTP in C against the published vectors, against libsrtp and `cryptography`, and against loss, replay and forgery."""

import hmac
import random

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from pylibsrtp import Error, Policy

from rtc._wire import Srtp, derive_keys
from tests.rtc import srtp_pairs
from tests.rtc.srtp_pairs import CM, GCM, KEY, PROFILES, TAG, WINDOW, libsrtp, pair, refusal, rtcp, rtp, salt
from tests.vectors import srtp as vectors

crypto = srtp_pairs.crypto


# --- vectors ----------------------------------------------------------------------------------------------------------


def session_keys(key: bytes, session_salt: bytes) -> dict[str, bytes]:
    auth = bytes(20)
    return {"rtp_key": key, "rtp_auth": auth, "rtp_salt": session_salt} | {
        "rtcp_key": key,
        "rtcp_auth": auth,
        "rtcp_salt": session_salt,
    }


def test_key_stream_of_rfc_3711_appendix_b_2() -> None:
    sender = Srtp.from_session_keys(CM, session_keys(vectors.B2_KEY, vectors.B2_SALT))
    packet = sender.protect(rtp(0, ssrc=0, payload=bytes(48)), rollover=0)
    assert packet[12:60] == vectors.B2_KEY_STREAM


def test_longest_packet_of_the_key_stream_of_rfc_3711_appendix_b_2() -> None:
    """The blocks that the RFC prints last lie past any packet's end: they prove the oracle, which proves the rest."""
    oracle = (
        Cipher(algorithms.AES(vectors.B2_KEY), modes.CTR(vectors.B2_SALT + bytes(2)))
        .encryptor()
        .update(bytes(0xFF02 * 16))
    )
    assert oracle[:48] == vectors.B2_KEY_STREAM
    assert oracle[0xFEFF * 16 :] == vectors.B2_BLOCKS_FEFF_TO_FF01
    sender = Srtp.from_session_keys(CM, session_keys(vectors.B2_KEY, vectors.B2_SALT))
    packet = sender.protect(rtp(0, ssrc=0, payload=bytes(1900)), rollover=0)
    assert packet[12:-10] == oracle[:1900]


def test_key_derivation_of_rfc_3711_appendix_b_3() -> None:
    keys = derive_keys(CM, vectors.B3_MASTER_KEY, vectors.B3_MASTER_SALT)
    assert keys["rtp_key"] == vectors.B3_CIPHER_KEY
    assert keys["rtp_salt"] == vectors.B3_CIPHER_SALT
    assert keys["rtp_auth"] == vectors.B3_AUTH_KEY


def gcm() -> Srtp:
    return Srtp.from_session_keys(GCM, session_keys(vectors.GCM_KEY, vectors.GCM_SALT))


def test_rtp_packet_of_rfc_7714_section_16_1_1_is_encrypted() -> None:
    assert gcm().protect(vectors.GCM_RTP, rollover=0) == vectors.GCM_SRTP_16_1


def test_rtp_packet_of_rfc_7714_section_16_1_2_is_decrypted() -> None:
    assert gcm().unprotect(vectors.GCM_SRTP_16_1) == vectors.GCM_RTP


def test_rtcp_packet_of_rfc_7714_section_17_1_is_encrypted() -> None:
    sender = gcm()
    for _ in range(vectors.GCM_SRTCP_INDEX):
        sender.protect_rtcp(vectors.GCM_RTCP)
    assert sender.protect_rtcp(vectors.GCM_RTCP) == vectors.GCM_SRTCP_17_1


def test_rtcp_packet_of_rfc_7714_section_17_2_is_decrypted() -> None:
    assert gcm().unprotect_rtcp(vectors.GCM_SRTCP_17_1) == vectors.GCM_RTCP


def test_gcm_vectors_agree_with_a_second_implementation() -> None:
    def nonce(field: str) -> bytes:
        return bytes(a ^ b for a, b in zip(bytes.fromhex(field), vectors.GCM_SALT, strict=True))

    cipher = AESGCM(vectors.GCM_KEY)
    sealed = cipher.encrypt(
        nonce("0000" + "5501a0b2" + "00000000" + "f17b"), vectors.GCM_RTP[12:], vectors.GCM_RTP[:12]
    )
    assert sealed == vectors.GCM_SRTP_16_1[12:]
    word = bytes.fromhex("800005d4")
    sealed = cipher.encrypt(
        nonce("0000" + "4d617273" + "0000" + "000005d4"), vectors.GCM_RTCP[8:], vectors.GCM_RTCP[:8] + word
    )
    assert sealed + word == vectors.GCM_SRTCP_17_1[8:]


@pytest.mark.parametrize("rollover", [0, 1, 0xFFFF, 0x1_0000, 0xABCD_1234])
def test_initialisation_vectors_take_in_the_whole_rollover_counter(rollover: int) -> None:
    """RFC 7714 section 8.1 and RFC 3711 section 4.1.1, computed here."""
    packet, ssrc, index = rtp(0x9876, payload=b"x" * 40), 0x1234, rollover << 16 | 0x9876
    keys = derive_keys(GCM, KEY, salt(GCM))
    vector = (ssrc << 48 | index) ^ int.from_bytes(keys["rtp_salt"], "big")
    sealed = AESGCM(keys["rtp_key"]).encrypt(vector.to_bytes(12, "big"), packet[12:], packet[:12])
    assert Srtp(GCM, KEY, salt(GCM)).protect(packet, rollover=rollover)[12:] == sealed
    keys = derive_keys(CM, KEY, salt(CM))
    vector = (int.from_bytes(keys["rtp_salt"], "big") << 16) ^ (ssrc << 64) ^ (index << 16)
    cipher = Cipher(algorithms.AES(keys["rtp_key"]), modes.CTR(vector.to_bytes(16, "big"))).encryptor()
    protected = Srtp(CM, KEY, salt(CM)).protect(packet, rollover=rollover)
    assert protected[12:-10] == cipher.update(packet[12:])
    assert protected[-10:] == hmac.digest(keys["rtp_auth"], protected[:-10] + rollover.to_bytes(4, "big"), "sha1")[:10]


# --- who encrypts ---


def test_openssl_encrypts_when_asked_to_and_always_for_aes_cm(crypto: str) -> None:
    assert Srtp(CM, KEY, salt(CM)).backend == "openssl"
    assert Srtp(GCM, KEY, salt(GCM)).backend in ({"openssl"} if crypto == "openssl" else {"openssl", "ipsec-mb"})


@PROFILES
def test_both_libraries_write_the_same_and_open_what_the_other_wrote(
    profile: int, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    fastest = pair(profile)
    monkeypatch.setenv("WADUD_CRYPTO", "openssl")
    openssl = pair(profile)
    lengths = [*range(70), 127, 128, 129, 255, 256, 257, 511, 512, 513, 767, 768, 769, 1023, 1024, 1025, 1200, 1900]
    for sequence, length in enumerate(lengths):
        packet, control = rtp(sequence, payload=rng.randbytes(length)), rtcp(body=rng.randbytes(20 + length // 4 * 4))
        protected, sealed = fastest[0].protect(packet), fastest[0].protect_rtcp(control)
        assert protected == openssl[0].protect(packet)
        assert sealed == openssl[0].protect_rtcp(control)
        for receiver in (fastest[1], openssl[1]):
            assert receiver.unprotect(protected) == packet
            assert receiver.unprotect_rtcp(sealed) == control


# --- forgery ----------------------------------------------------------------------------------------------------------


@PROFILES
def test_packet_with_any_byte_changed_is_refused_and_changes_no_state(profile: int) -> None:
    sender, receiver = pair(profile)
    packet = sender.protect(rtp(7))
    for at in range(len(packet)):
        forged = bytearray(packet)
        forged[at] ^= 1
        assert refusal(receiver.unprotect, bytes(forged)) in {"auth", "not an RTP packet"}
    assert receiver.unprotect(packet) == rtp(7)


@PROFILES
def test_rtcp_packet_with_any_byte_changed_is_refused_and_changes_no_state(profile: int) -> None:
    sender, receiver = pair(profile)
    packet = sender.protect_rtcp(rtcp())
    for at in range(len(packet)):
        for bit in (1, 0x80):  # 0x80 of the index word is the E flag
            forged = bytearray(packet)
            forged[at] ^= bit
            assert refusal(receiver.unprotect_rtcp, bytes(forged)) == "auth"
    assert receiver.unprotect_rtcp(packet) == rtcp()


@PROFILES
def test_packet_cut_anywhere_is_refused(profile: int) -> None:
    sender, receiver = pair(profile)
    packet, control = sender.protect(rtp(7)), sender.protect_rtcp(rtcp())
    for length in range(len(packet)):
        assert refusal(receiver.unprotect, packet[:length]) in {"auth", "short", "not an RTP packet"}
    for length in range(len(control)):
        assert refusal(receiver.unprotect_rtcp, control[:length]) in {"auth", "short"}


@PROFILES
def test_forged_packet_far_ahead_does_not_move_the_window(profile: int) -> None:
    sender, receiver = pair(profile)
    first, second = sender.protect(rtp(10)), sender.protect(rtp(11))
    receiver.unprotect(first)
    forged = bytearray(second)
    forged[2:4] = (0x7000).to_bytes(2, "big")
    assert refusal(receiver.unprotect, bytes(forged)) == "auth"
    assert receiver.unprotect(second) == rtp(11)


@PROFILES
def test_keys_of_the_other_direction_open_nothing(profile: int) -> None:
    sender, _ = pair(profile)
    stranger = Srtp(profile, bytes(16), salt(profile))
    assert refusal(stranger.unprotect, sender.protect(rtp(1))) == "auth"
    assert refusal(stranger.unprotect_rtcp, sender.protect_rtcp(rtcp())) == "auth"


@PROFILES
@pytest.mark.parametrize("key, salt_length", [(15, 0), (16, -1), (16, 1), (32, 0)])
def test_keys_of_a_wrong_length_are_refused(profile: int, key: int, salt_length: int) -> None:
    with pytest.raises(ValueError):
        Srtp(profile, bytes(key), bytes(len(salt(profile)) + salt_length))


def test_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError):
        Srtp(2, KEY, bytes(14))


# --- rollover and replay ----------------------------------------------------------------------------------------------


@PROFILES
def test_replay_is_refused(profile: int) -> None:
    sender, receiver = pair(profile)
    packets = [sender.protect(rtp(sequence)) for sequence in range(5)]
    for packet in packets:
        receiver.unprotect(packet)
    for packet in packets:
        assert refusal(receiver.unprotect, packet) == "replay"


@PROFILES
def test_packets_of_a_wrapping_stream_are_opened_in_any_order_of_the_window(profile: int, rng: random.Random) -> None:
    sender, receiver = pair(profile)
    receiver.unprotect(sender.protect(rtp(65_000)))
    sequences = list(range(65_001, 66_000))
    packets = [sender.protect(rtp(sequence)) for sequence in sequences]
    for at in range(0, len(packets), 50):  # shuffled in groups, the wrap inside one of them
        group = list(zip(sequences[at : at + 50], packets[at : at + 50]))
        rng.shuffle(group)
        for sequence, packet in group:
            assert receiver.unprotect(packet) == rtp(sequence)
            assert refusal(receiver.unprotect, packet) == "replay"


@PROFILES
def test_window_reaches_back_1024_packets(profile: int) -> None:
    sender, receiver = pair(profile)
    packets = [sender.protect(rtp(sequence)) for sequence in range(WINDOW + 2)]
    receiver.unprotect(packets[-1])
    assert refusal(receiver.unprotect, packets[0]) == "too old"
    assert refusal(receiver.unprotect, packets[1]) == "too old"
    assert receiver.unprotect(packets[2]) == rtp(2)


@PROFILES
def test_leap_past_the_whole_window_forgets_what_was_seen(profile: int) -> None:
    sender, receiver = pair(profile)
    for sequence in (0, 1, 2, 5000):
        receiver.unprotect(sender.protect(rtp(sequence)))
    for sequence in range(5000 - WINDOW + 1, 5000):
        assert receiver.unprotect(sender.protect(rtp(sequence))) == rtp(sequence)


@PROFILES
def test_many_rollovers_are_followed(profile: int) -> None:
    sender, receiver = pair(profile)
    for index in range(0, 5 * 65_536, 30_000):
        assert receiver.unprotect(sender.protect(rtp(index), rollover=index >> 16)) == rtp(index)


@PROFILES
def test_late_packet_from_before_the_wrap_is_opened_with_the_old_counter(profile: int) -> None:
    sender, receiver = pair(profile)
    late = sender.protect(rtp(65_535), rollover=0)
    for index in (65_534, 65_536, 65_537):
        receiver.unprotect(sender.protect(rtp(index), rollover=index >> 16))
    assert receiver.unprotect(late) == rtp(65_535)
    assert receiver.unprotect(sender.protect(rtp(65_538), rollover=1)) == rtp(65_538)


@PROFILES
def test_receiver_that_lost_the_first_packets_before_a_wrap_refuses_without_harm(profile: int) -> None:
    """RFC 3711 section 3.3.1 knows no remedy: a sender that begins just before a wrap and loses those packets stays
    unheard. That is why every stream that we send begins in the lower half (REALTIME 3.1); a late start of the
    same stream below the wrap must still be opened afterwards.
    """
    sender, receiver = pair(profile)
    before, after = sender.protect(rtp(65_535)), sender.protect(rtp(65_536))
    assert refusal(receiver.unprotect, after) == "auth"
    assert receiver.unprotect(before) == rtp(65_535)
    assert receiver.unprotect(after) == rtp(65_536)


@PROFILES
def test_stream_that_begins_in_the_lower_half_survives_any_loss_before_the_wrap(profile: int) -> None:
    sender, receiver = pair(profile)
    for index in (32_767, 65_535, 65_536 + 32_766):
        assert receiver.unprotect(sender.protect(rtp(index), rollover=index >> 16)) == rtp(index)


@PROFILES
def test_packet_older_than_the_first_rollover_is_not_taken_for_a_negative_index(profile: int) -> None:
    sender, receiver = pair(profile)
    receiver.unprotect(sender.protect(rtp(3)))
    assert receiver.unprotect(sender.protect(rtp(65_530), rollover=0)) == rtp(65_530)


@PROFILES
def test_streams_of_one_session_keep_their_counters_apart(profile: int) -> None:
    sender, receiver = pair(profile)
    for index in range(65_530, 65_545):
        for ssrc in (1, 2):
            sequence = index if ssrc == 1 else index - 65_000
            assert receiver.unprotect(sender.protect(rtp(sequence, ssrc=ssrc))) == rtp(sequence, ssrc=ssrc)


@given(
    st.sampled_from([CM, GCM]),
    st.integers(0, 32767),
    st.lists(st.tuples(st.integers(1, 32767), st.binary(max_size=1200)), max_size=8),
)
def test_any_stream_with_losses_shorter_than_half_a_rollover_is_opened(
    profile: int, start: int, steps: list[tuple[int, bytes]]
) -> None:
    sender, receiver = pair(profile)
    index = start
    for step, payload in [(0, b""), *steps]:
        index += step
        packet = rtp(index, payload=payload)
        assert receiver.unprotect(sender.protect(packet, rollover=index >> 16)) == packet


@PROFILES
def test_empty_payload_is_authenticated(profile: int) -> None:
    sender, receiver = pair(profile)
    packet = sender.protect(rtp(1, payload=b""))
    assert len(packet) == 12 + TAG[profile]
    assert receiver.unprotect(packet) == rtp(1, payload=b"")


# --- libsrtp ----------------------------------------------------------------------------------------------------------


@PROFILES
def test_libsrtp_opens_what_we_protect_and_the_other_way_round(profile: int, rng: random.Random) -> None:
    ours_out, ours_in = pair(profile)
    theirs_in, theirs_out = libsrtp(profile, Policy.SSRC_ANY_INBOUND), libsrtp(profile, Policy.SSRC_ANY_OUTBOUND)
    for index in range(65_500, 65_580):  # over a rollover
        for ssrc in (1, 0xFFFF_FFFF):
            packet = rtp(index, ssrc=ssrc, payload=rng.randbytes(rng.randrange(1200)))
            protected = ours_out.protect(packet)
            assert protected == theirs_out.protect(packet)
            assert theirs_in.unprotect(protected) == packet
            assert ours_in.unprotect(protected) == packet
        control = rtcp(body=rng.randbytes(20 + 4 * rng.randrange(100)))
        protected = ours_out.protect_rtcp(control)
        assert theirs_in.unprotect_rtcp(protected) == control
        # libsrtp begins its SRTCP index at 1, so its packets cannot equal ours
        assert ours_in.unprotect_rtcp(theirs_out.protect_rtcp(control)) == control


@PROFILES
def test_header_extensions_and_contributors_stay_clear_and_authentic(profile: int) -> None:
    """The header ends where libsrtp thinks it ends."""
    header = (
        b"\xb2\x60\x00\x01"
        + bytes(4)
        + bytes([0, 0, 0, 9])
        + bytes(8)
        + b"\xbe\xde\x00\x02\x10\xaa\x21\xbb\xcc\x00\x00\x00"
    )
    packet = header + b"payload" + b"\x00\x02"  # the P bit: padding is encrypted too
    sender, _ = pair(profile)
    protected = sender.protect(packet)
    assert protected[: len(header)] == header
    assert libsrtp(profile, Policy.SSRC_ANY_INBOUND).unprotect(protected) == packet


@PROFILES
def test_replay_verdicts_equal_those_of_libsrtp(profile: int, rng: random.Random) -> None:
    """A drifting stream with duplicates, reordering and loss: both windows say the same for every packet."""
    sender, ours = pair(profile)
    theirs = libsrtp(profile, Policy.SSRC_ANY_INBOUND)
    centre = 2000
    for _ in range(4000):
        centre += rng.choice((0, 1, 1, 2, 60))
        index = max(0, centre - rng.choice((0, 0, 1, 5, 700, 1023, 1024, 1500)))
        packet = sender.protect(rtp(index), rollover=index >> 16)
        verdicts = []
        for unprotect, error in ((ours.unprotect, ValueError), (theirs.unprotect, Error)):
            try:
                unprotect(packet)
                verdicts.append(True)
            except error:
                verdicts.append(False)
        assert verdicts[0] == verdicts[1], index
