"""Codec identity across participants: variants, fallbacks, order."""

import pytest

from rtc.sdp import PayloadType, parse
from rtc.sdp_codecs import (
    CODEC_NUMBERS,
    MAX_WORKER_CODECS,
    H264Profile,
    h264_profile,
    h264_variant,
    usable,
    variant_of,
    with_fallbacks,
    worker_codecs,
)
from tests.rtc.offers import load


def h264(number: int, profile_level_id: str, mode: str = "1") -> PayloadType:
    parameters = (("profile-level-id", profile_level_id), ("packetization-mode", mode))
    return PayloadType(number, "h264", 90_000, 1, parameters, frozenset({"nack", "nack pli"}))


@pytest.mark.parametrize(
    "text, profile",
    [
        ("42e01f", H264Profile.CONSTRAINED_BASELINE),
        ("42E034", H264Profile.CONSTRAINED_BASELINE),
        ("42c00a", H264Profile.CONSTRAINED_BASELINE),
        ("4d801f", H264Profile.CONSTRAINED_BASELINE),
        ("58c01f", H264Profile.CONSTRAINED_BASELINE),
        ("42001f", H264Profile.BASELINE),
        ("42a01f", H264Profile.BASELINE),
        ("58a01f", H264Profile.BASELINE),
        ("4d001f", H264Profile.MAIN),
        ("4d401f", H264Profile.MAIN),
        ("640c1f", H264Profile.CONSTRAINED_HIGH),
        ("64001f", H264Profile.HIGH),
        ("f4001f", H264Profile.HIGH_444),
        ("42e01", None),
        ("42e01g", None),
        ("42e0 1f", None),
        ("53001f", None),
    ],
)
def test_h264_profiles_of_rfc_6184_table_5(text: str, profile: H264Profile | None) -> None:
    assert h264_profile(text) is profile


def test_levels_do_not_tell_variants_apart() -> None:
    assert variant_of(h264(1, "42e01f")) == variant_of(h264(2, "42e034"))


def test_packetization_modes_tell_variants_apart() -> None:
    assert variant_of(h264(1, "42e01f", "1")) != variant_of(h264(2, "42e01f", "0"))


def test_all_variants_of_a_codec_are_different_numbers() -> None:
    numbers = [h264_variant(profile, mode) for profile in H264Profile for mode in (0, 1)]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("mode", ["2", "x", "-1"])
def test_unusable_packetization_modes_are_left_out(mode: str) -> None:
    assert usable("video", [h264(100, "42e01f", mode)]) == []


def test_missing_fmtp_of_h264_means_baseline_in_mode_0() -> None:
    plain = PayloadType(100, "h264", 90_000, 1)
    assert variant_of(plain) == h264_variant(H264Profile.BASELINE, 0)


def test_two_browsers_agree_on_the_variant_of_what_both_name() -> None:
    def by_number(name: str) -> dict[tuple[int, int], int]:
        media = parse(load(name)).media[1]
        items = worker_codecs(usable("video", media.payload_types), nack=True, pli=True)
        return {(item["codec"], item["variant"]): item["payload_type"] for item in items}

    chromium, safari = by_number("chromium_publisher_and_slots.sdp"), by_number("safari_publisher_and_slots.sdp")
    both = (CODEC_NUMBERS["h264"], h264_variant(H264Profile.CONSTRAINED_BASELINE, 1))
    assert chromium[both] == 108
    assert safari[both] == 98


def test_offerers_order_stands_without_a_preference() -> None:
    chromium = parse(load("chromium_publisher_and_slots.sdp")).media[1]
    safari = parse(load("safari_publisher_and_slots.sdp")).media[1]
    assert list(dict.fromkeys(item.payload.name for item in usable("video", chromium.payload_types))) == [
        "vp8",
        "h264",
        "av1",
        "vp9",
    ]
    assert list(dict.fromkeys(item.payload.name for item in usable("video", safari.payload_types))) == [
        "h264",
        "vp8",
        "vp9",
    ]


def test_preference_decides_the_order_and_constrained_baseline_leads_h264() -> None:
    chromium = parse(load("chromium_publisher_and_slots.sdp")).media[1]
    safari = parse(load("safari_publisher_and_slots.sdp")).media[1]
    assert usable("video", safari.payload_types, ("vp8",))[0].payload.number == 106
    forced = usable("video", chromium.payload_types, ("h264", "vp8"))
    assert [item.payload.number for item in forced][:3] == [108, 102, 116]


def test_rtx_goes_with_its_primary() -> None:
    media = parse(load("chromium_publisher_and_slots.sdp")).media[1]
    assert {item.payload.number: item.rtx.number for item in usable("video", media.payload_types) if item.rtx} == {
        96: 97,
        102: 103,
        104: 107,
        108: 109,
        114: 115,
        116: 117,
        39: 40,
        45: 46,
        98: 99,
        100: 101,
    }


def test_red_cn_and_telephone_events_are_not_taken() -> None:
    media = parse(load("chromium_audio_only.sdp")).media[0]
    assert [item.payload.number for item in usable("audio", media.payload_types)] == [111]


def test_mono_opus_and_wrong_clock_rates_are_not_taken() -> None:
    assert usable("audio", [PayloadType(111, "opus", 48_000, 1)]) == []
    assert usable("audio", [PayloadType(111, "opus", 16_000, 2)]) == []
    assert usable("video", [PayloadType(96, "vp8", 48_000, 1)]) == []


def test_payload_types_that_look_like_rtcp_are_not_taken() -> None:
    assert usable("video", [PayloadType(72, "vp8", 90_000, 1)]) == []


def test_a_codec_of_the_other_kind_is_not_taken() -> None:
    assert usable("audio", [PayloadType(96, "vp8", 90_000, 1)]) == []
    assert usable("video", [PayloadType(111, "opus", 48_000, 2)]) == []


def receiver(*payloads: PayloadType) -> dict[int, int]:
    """variant -> payload type of a slot with these H.264 payload types."""
    codecs = with_fallbacks(worker_codecs(usable("video", payloads), nack=True, pli=True))
    return {codec["variant"]: codec["payload_type"] for codec in codecs}


def test_baseline_of_chromium_reaches_a_receiver_of_constrained_baseline() -> None:
    slots = receiver(h264(100, "42e01f"))
    assert slots[h264_variant(H264Profile.BASELINE, 1)] == 100


def test_constrained_baseline_reaches_every_higher_receiver() -> None:
    for profile_level_id in ("42001f", "4d001f", "640c1f", "64001f"):
        assert receiver(h264(100, profile_level_id))[h264_variant(H264Profile.CONSTRAINED_BASELINE, 1)] == 100


def test_high_does_not_reach_a_baseline_receiver() -> None:
    assert h264_variant(H264Profile.HIGH, 1) not in receiver(h264(100, "42e01f"))


def test_main_does_not_reach_a_constrained_high_receiver() -> None:
    assert h264_variant(H264Profile.MAIN, 1) not in receiver(h264(100, "640c1f"))


def test_mode_1_receiver_takes_mode_0_but_not_the_other_way_round() -> None:
    assert receiver(h264(100, "42e01f", "1"))[h264_variant(H264Profile.CONSTRAINED_BASELINE, 0)] == 100
    assert h264_variant(H264Profile.CONSTRAINED_BASELINE, 1) not in receiver(h264(100, "42e01f", "0"))


def test_own_variant_is_never_replaced_by_a_fallback() -> None:
    slots = receiver(h264(100, "42e01f"), h264(102, "42001f"))
    assert slots[h264_variant(H264Profile.CONSTRAINED_BASELINE, 1)] == 100
    assert slots[h264_variant(H264Profile.BASELINE, 1)] == 102


def test_a_slot_never_has_more_codecs_than_the_worker_holds() -> None:
    for name in ("chromium_publisher_and_slots.sdp", "safari_publisher_and_slots.sdp"):
        media = parse(load(name)).media[-1]
        codecs = with_fallbacks(worker_codecs(usable("video", media.payload_types), nack=True, pli=True))
        assert len(codecs) <= MAX_WORKER_CODECS
        assert len({(codec["codec"], codec["variant"]) for codec in codecs}) == len(codecs)
