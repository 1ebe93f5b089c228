"""Names of both scripts: what becomes equal, what stays apart, how far words may differ."""

from itertools import groupby, product
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking.providers import normalise
from booking.providers.normalise import MAX_WORD_LETTERS, MAX_WORDS, distance, features, fold, keys, script, words

texts = st.text(st.characters(codec="utf-8"), max_size=60)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("AYESHA", "ayesha"),
        ("Aïcha", "Aicha"),
        ("عَائِشَةُ", "عائشہ"),
        ("علي", "علی"),
        ("كريم", "کریم"),
        ("مـــحمد", "محمد"),
        ("أحمد", "احمد"),
        ("آمنہ", "امنہ"),
        ("فاطمۃ", "فاطمه"),
        ("مؤمن", "مومن"),
        ("ﻣﺤﻤﺪ", "محمد"),
        ("زہرہ‌", "زہره"),
        ("ward ۱۲", "ward 12"),
        ("غرفة ٣", "غرفہ 3"),
        ("O’Brien", "obrien"),
        ("Ｋｈａｎ", "khan"),
    ],
)
def test_spellings_of_one_word_fold_to_the_same(typed: str, meant: str) -> None:
    assert words(typed) == words(meant)


@pytest.mark.parametrize(("one", "other"), [("کریم", "قریم"), ("sara", "zara"), ("ٹ", "ت"), ("میں", "من")])
def test_different_letters_stay_apart(one: str, other: str) -> None:
    assert fold(one) != fold(other)


def test_titles_are_no_part_of_a_name() -> None:
    assert words("Dr. Prof. Ayesha Khan, ڈاکٹر عائشہ") == ["ayesha", "khan", "عایشہ"]


def test_devanagari_words_keep_their_vowel_signs_and_their_ends() -> None:
    assert words("डॉ प्रिया शर्मा") == ["प्रिया", "शर्मा"]


@pytest.mark.parametrize(
    "pair",
    """Ayesha عائشہ|Aisha عائشہ|Aishah عائشة|Muhammad محمد|Mohammed محمد|Mohd محمد
    Hussain حسین|Husayn حسین|Chaudhry چودھری|Chowdhury چودھری|Qureshi قریشی
    Kureshi قریشی|Shah شاہ|Abdullah عبداللہ|Nighat نگہت|Usman عثمان|Othman عثمان
    Syed سید|Sayyid سید|Zainab زینب|Zaynab زینب|Khan خان|Dawood داؤد|Daud داؤد
    Fatima فاطمہ|Fatimah فاطمہ|Ramadan رمضان|Ramzan رمضان|Sheikh شیخ|Shaikh شیخ
    Siddiqui صدیقی|Yusuf یوسف|Yousaf یوسف|Waqar وقار|Noor نور|Nur نور|Ali علي
    Saima صائمہ|Mehwish مہوش|Khawaja خواجہ|Farooq فاروق|Faruk فاروق|Javed جاوید
    Iqbal اقبال|Bushra بشریٰ|Maryam مریم|Mariam مریم|Al-Qahtani القحطاني""".replace("\n", "|").split("|"),
)
def test_a_name_and_its_spelling_in_the_other_script_share_a_key(pair: str) -> None:
    latin, arabic = (words(each)[-1] for each in pair.strip().split(" "))
    assert (script(latin), script(arabic)) == ("l", "a")
    assert set(keys(latin)) & set(keys(arabic))


@pytest.mark.parametrize("pair", ["Ayesha عثمان", "Khan ملک", "Bilal جلال", "Sana حنا", "Farah فرخ"])
def test_other_names_share_none(pair: str) -> None:
    latin, arabic = (words(each)[0] for each in pair.split(" "))
    assert not set(keys(latin)) & set(keys(arabic))


def test_hasan_and_hussain_sound_alike_which_is_a_known_limit() -> None:
    assert set(keys("hasan")) & set(keys(words("حسین")[0]))


@pytest.mark.parametrize(
    ("one", "other", "slips"),
    [
        ("ayesha", "ayesha", 0),
        ("ayesha", "ayehsa", 1),
        ("khan", "kahn", 1),
        ("khan", "khaan", 1),
        ("muhammad", "mohamad", 2),
        ("ali", "", 3),
        ("abcdef", "uvwxyz", 3),
    ],
)
def test_slips_between_words_are_counted_up_to_the_most(one: str, other: str, slips: int) -> None:
    assert distance(one, other, 2) == slips


@given(texts)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(texts)
def test_words_are_bounded_and_their_own_words(text: str) -> None:
    found = words(text)
    assert len(found) <= MAX_WORDS
    assert all(0 < len(word) <= MAX_WORD_LETTERS for word in found)
    assert all("'" not in word and "\\" not in word and " " not in word for word in found)
    assert words(" ".join(found)) == found


@given(texts)
def test_keys_and_features_of_anything_are_few(text: str) -> None:
    for word in words(text):
        assert len(keys(word)) <= 24
        assert len(features(word)) <= MAX_WORD_LETTERS + 2 + 24


READINGS = st.lists(st.sampled_from([("", "V"), ("", "Y"), ("V", "A"), ("K",), ("KS",), ("T", "S")]), max_size=9)


@given(READINGS)
def test_keys_are_the_first_of_all_spellings_run_together(readings: list[tuple[str, ...]]) -> None:
    spellings = ("".join(choice) for choice in product(*readings))
    together = dict.fromkeys("".join(letter for letter, _ in groupby(spelling)) for spelling in spellings)
    assert normalise._skeletons(readings) == set(list(together)[: normalise._MAX_KEYS]) - {""}


@pytest.mark.parametrize("letters", ["w", "و", "ی", "wy", "ویہ", "th", "xw", "ذض", "yaya", "ﷺ", "̀"])
def test_no_word_takes_longer_than_its_letters(letters: str) -> None:
    """A search for 40 times 'w' once tried 2 to the power of 39 spellings on the event loop."""
    typed = " ".join((letters * MAX_WORD_LETTERS)[: MAX_WORD_LETTERS - 2] + str(n) for n in range(MAX_WORDS))
    began = process_time()
    for word in words(typed):
        features(word)
    assert process_time() - began < 0.25


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_distance_has_no_direction(one: str, other: str) -> None:
    assert distance(one, other, 6) == distance(other, one, 6)
