"""What providers may be: the catalogue of specialties, and what people call them or complain of.

A code is what is stored and filtered by; the rest may be edited without touching the database, because a query is
resolved against this catalogue and not against copies of it. Synonyms are the patient's words ("skin", "sugar"), which
is why some are complaints; they only lead to a list of doctors and are no triage.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from booking.providers.normalise import distance, tolerance, words

_FEWEST_LETTERS_OF_A_PREFIX: Final = 4


class Specialty(Struct, frozen=True):
    """One entry of the catalogue. ``en``, ``ur``, ``ar`` are shown; ``synonyms`` are only found by."""

    code: str
    en: str
    ur: str
    ar: str
    synonyms: tuple[str, ...] = ()

    def name(self, locale: str) -> str:
        """The name in the locale's language, English when there is none."""
        return {"ur": self.ur, "ar": self.ar}.get(locale.partition("-")[0].lower(), self.en)


def _entry(code: str, en: str, ur: str, ar: str, synonyms: str = "") -> Specialty:
    return Specialty(code, en, ur, ar, tuple(each.strip() for each in synonyms.split(",") if each.strip()))


CATALOGUE: Final[tuple[Specialty, ...]] = (
    _entry("general-practice", "General physician", "جنرل فزیشن", "طبيب عام", "gp, family, fever, flu, cough, بخار, بخار کھانسی, حمى"),
    _entry("internal-medicine", "Internal medicine", "میڈیکل اسپیشلسٹ", "الطب الباطني", "internist, physician, باطنية"),
    _entry("cardiology", "Cardiologist", "ماہر امراض قلب", "أمراض القلب", "cardiology, heart, chest, blood pressure, دل, قلب"),
    _entry("dermatology", "Dermatologist", "ماہر امراض جلد", "الأمراض الجلدية", "dermatology, skin, acne, hair, جلد, جلدية, بال"),
    _entry("paediatrics", "Paediatrician", "ماہر امراض اطفال", "طب الأطفال", "paediatrics, pediatrics, pediatrician, child, children, baby, بچے, بچوں, أطفال"),
    _entry("gynaecology", "Gynaecologist", "ماہر امراض نسواں", "أمراض النساء والولادة", "gynaecology, gynecology, gynecologist, obstetrics, obstetrician, pregnancy, women, حمل, زچگی, نساء"),
    _entry("orthopaedics", "Orthopaedic surgeon", "ماہر امراض ہڈی و جوڑ", "جراحة العظام", "orthopaedics, orthopedics, orthopedic, bone, joint, fracture, knee, back pain, ہڈی, جوڑ, عظام"),
    _entry("neurology", "Neurologist", "ماہر امراض اعصاب", "طب الأعصاب", "neurology, brain, nerve, migraine, headache, epilepsy, stroke, دماغ, سر درد, أعصاب"),
    _entry("neurosurgery", "Neurosurgeon", "نیورو سرجن", "جراحة الأعصاب", "neurosurgery, spine"),
    _entry("psychiatry", "Psychiatrist", "ماہر نفسیاتی امراض", "الطب النفسي", "psychiatry, depression, anxiety, mental health, sleep, نفسیاتی, نفسي"),
    _entry("psychology", "Psychologist", "ماہر نفسیات", "علم النفس", "psychology, counselling, counseling, therapist, therapy, stress, ذہنی صحت"),
    _entry("ent", "ENT specialist", "ماہر امراض ناک کان گلا", "أنف وأذن وحنجرة", "otolaryngology, otolaryngologist, ear, nose, throat, sinus, hearing, کان, ناک, گلا, أذن"),
    _entry("ophthalmology", "Eye specialist", "ماہر امراض چشم", "طب العيون", "ophthalmology, ophthalmologist, eyes, vision, cataract, آنکھ, آنکھوں, چشم, عيون"),
    _entry("optometry", "Optometrist", "آپٹومیٹرسٹ", "فحص البصر", "optometry, glasses, lenses"),
    _entry("dentistry", "Dentist", "دندان ساز", "طب الأسنان", "dentistry, dental, teeth, tooth, gums, دانت, دانتوں, أسنان"),
    _entry("gastroenterology", "Gastroenterologist", "ماہر امراض معدہ و جگر", "أمراض الجهاز الهضمي", "gastroenterology, stomach, liver, digestion, hepatitis, ulcer, معدہ, جگر, معدة"),
    _entry("pulmonology", "Pulmonologist", "ماہر امراض سینہ", "أمراض الصدر", "pulmonology, lungs, asthma, breathing, tuberculosis, پھیپھڑے, سانس, دمہ, صدر"),
    _entry("nephrology", "Nephrologist", "ماہر امراض گردہ", "أمراض الكلى", "nephrology, kidney, dialysis, گردہ, گردے, كلى"),
    _entry("urology", "Urologist", "ماہر امراض مثانہ", "المسالك البولية", "urology, bladder, prostate, urine, مثانہ, بولية"),
    _entry("endocrinology", "Endocrinologist", "ماہر امراض ہارمون", "الغدد الصماء", "endocrinology, diabetes, diabetologist, thyroid, hormone, sugar, شوگر, ذیابیطس, سكري, غدد"),
    _entry("oncology", "Oncologist", "ماہر امراض سرطان", "طب الأورام", "oncology, cancer, tumour, tumor, کینسر, سرطان, أورام"),
    _entry("haematology", "Haematologist", "ماہر امراض خون", "أمراض الدم", "haematology, hematology, hematologist, blood, anaemia, anemia, thalassaemia, خون, دم"),
    _entry("rheumatology", "Rheumatologist", "ماہر امراض جوڑ", "أمراض الروماتيزم", "rheumatology, arthritis, lupus, گٹھیا, روماتيزم"),
    _entry("infectious-disease", "Infectious disease specialist", "ماہر متعدی امراض", "الأمراض المعدية", "infection, dengue, malaria, typhoid, covid, hiv, ڈینگی, ملیریا"),
    _entry("allergy", "Allergist", "ماہر الرجی", "الحساسية والمناعة", "allergy, immunology, immunologist, الرجی, حساسية"),
    _entry("general-surgery", "General surgeon", "جنرل سرجن", "الجراحة العامة", "surgery, surgeon, hernia, appendix, gallbladder, آپریشن, جراح"),
    _entry("plastic-surgery", "Plastic surgeon", "پلاسٹک سرجن", "جراحة التجميل", "cosmetic, burns, aesthetic, تجميل"),
    _entry("vascular-surgery", "Vascular surgeon", "ویسکولر سرجن", "جراحة الأوعية الدموية", "veins, varicose"),
    _entry("fertility", "Fertility specialist", "ماہر بانجھ پن", "الخصوبة والعقم", "ivf, infertility, بانجھ پن, عقم"),
    _entry("sexology", "Sexual health specialist", "ماہر جنسی صحت", "الصحة الجنسية", "sexology, sexologist, andrology"),
    _entry("physiotherapy", "Physiotherapist", "فزیو تھراپسٹ", "العلاج الطبيعي", "physiotherapy, physical therapy, rehabilitation, sports injury, فزیو"),
    _entry("nutrition", "Nutritionist", "ماہر غذائیت", "التغذية", "nutrition, dietitian, dietician, diet, weight, obesity, غذا, وزن, تغذية"),
    _entry("speech-therapy", "Speech therapist", "ماہر گویائی", "علاج النطق", "speech, language, stammering, نطق"),
    _entry("pain-medicine", "Pain specialist", "ماہر درد", "علاج الألم", "pain, anaesthesia, درد, ألم"),
    _entry("geriatrics", "Geriatrician", "ماہر امراض بزرگاں", "طب الشيخوخة", "geriatrics, elderly, dementia, بزرگ"),
    _entry("radiology", "Radiologist", "ریڈیالوجسٹ", "الأشعة", "radiology, ultrasound, xray, mri, أشعة"),
    _entry("pathology", "Pathologist", "پیتھالوجسٹ", "علم الأمراض", "pathology, laboratory"),
    _entry("emergency-medicine", "Emergency physician", "ایمرجنسی فزیشن", "طب الطوارئ", "urgent, accident, طوارئ"),
    _entry("sports-medicine", "Sports physician", "ماہر کھیل طب", "الطب الرياضي", "sports, athlete"),
    _entry("midwifery", "Midwife", "دائی", "القبالة", "midwifery, birth, قابلة"),
    _entry("nursing", "Nurse", "نرس", "التمريض", "nursing, home care, ممرضة"),
    _entry("homeopathy", "Homeopath", "ہومیو پیتھ", "المعالجة المثلية", "homeopathy, homeopathic, ہومیو"),
    _entry("unani", "Hakeem", "حکیم", "الطب اليوناني", "unani, hakim, tibb, herbal, حکمت"),
    _entry("ayurveda", "Ayurvedic physician", "آیورویدک معالج", "الأيورفيدا", "ayurveda, vaidya"),
    _entry("wellness", "Wellness and fitness coach", "فٹنس کوچ", "مدرب لياقة", "yoga, fitness, coach, meditation, class, یوگا, يوغا"),
)  # fmt: skip
BY_CODE: Final = {each.code: each for each in CATALOGUE}

# Words that stand in many names and lead to none of them.
_EMPTY: Final = frozenset(
    word
    for text in (
        "specialist expert health and medicine physician disease care امراض ماہر و طب أمراض جراحة علاج صحت جنرل",
    )
    for word in words(text)
)


def _vocabulary() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for entry in CATALOGUE:
        for text in (entry.code, entry.en, entry.ur, entry.ar, *entry.synonyms):
            for word in words(text.replace("-", " ")):
                if word not in _EMPTY and len(word) > 1:
                    found.setdefault(word, set()).add(entry.code)
    return {word: frozenset(codes) for word, codes in found.items()}


_VOCABULARY: Final = _vocabulary()


def known(codes: Iterable[str]) -> bool:
    """Whether every code stands in the catalogue."""
    return all(code in BY_CODE for code in codes)


def meant_by(word: str) -> frozenset[str]:
    """Codes that a folded word names, or begins to name when it has four letters or more."""
    if exact := _VOCABULARY.get(word):
        return exact
    if len(word) < _FEWEST_LETTERS_OF_A_PREFIX:
        return frozenset()
    return frozenset(code for other, codes in _VOCABULARY.items() if other.startswith(word) for code in codes)


def perhaps_meant_by(word: str) -> frozenset[str]:
    """Codes whose words differ from a folded word by slips only ('dermatolgist'), those with the fewest slips."""
    most = tolerance(word)
    if len(word) < _FEWEST_LETTERS_OF_A_PREFIX:
        return frozenset()
    best: set[str] = set()
    for other, codes in _VOCABULARY.items():
        slips = distance(word, other, most)
        if slips > most or len(other) < _FEWEST_LETTERS_OF_A_PREFIX:
            continue
        if slips < most:
            most = slips
            best = set(codes)
        else:
            best |= codes
    return frozenset(best)
