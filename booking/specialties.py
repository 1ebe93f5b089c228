"""What providers may be: the catalogue of specialties, and what people call them or complain of.

A code is what is stored and filtered by; the rest may be edited without touching the database, because a query is
resolved against this catalogue and not against copies of it. Synonyms are the patient's words ("skin", "sugar"), which
is why some are complaints; they only lead to a list of doctors and are no triage.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from booking.providers.normalise import Vocabulary, words

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


# code | English | Urdu | Arabic, and below it the synonyms.
_TABLE: Final = """
general-practice | General physician | جنرل فزیشن | طبيب عام
    gp, family, fever, flu, cough, بخار, بخار کھانسی, حمى
internal-medicine | Internal medicine | میڈیکل اسپیشلسٹ | الطب الباطني
    internist, physician, باطنية
cardiology | Cardiologist | ماہر امراض قلب | أمراض القلب
    cardiology, heart, chest, blood pressure, دل, قلب
dermatology | Dermatologist | ماہر امراض جلد | الأمراض الجلدية
    dermatology, skin, acne, hair, جلد, جلدية, بال
paediatrics | Paediatrician | ماہر امراض اطفال | طب الأطفال
    paediatrics, pediatrics, pediatrician, child, children, baby, بچے, بچوں, أطفال
gynaecology | Gynaecologist | ماہر امراض نسواں | أمراض النساء والولادة
    gynaecology, gynecology, gynecologist, obstetrics, obstetrician, pregnancy, women, حمل, زچگی, نساء
orthopaedics | Orthopaedic surgeon | ماہر امراض ہڈی و جوڑ | جراحة العظام
    orthopaedics, orthopedics, orthopedic, bone, joint, fracture, knee, back pain, ہڈی, جوڑ, عظام
neurology | Neurologist | ماہر امراض اعصاب | طب الأعصاب
    neurology, brain, nerve, migraine, headache, epilepsy, stroke, دماغ, سر درد, أعصاب
neurosurgery | Neurosurgeon | نیورو سرجن | جراحة الأعصاب
    neurosurgery, spine
psychiatry | Psychiatrist | ماہر نفسیاتی امراض | الطب النفسي
    psychiatry, depression, anxiety, mental health, sleep, نفسیاتی, نفسي
psychology | Psychologist | ماہر نفسیات | علم النفس
    psychology, counselling, counseling, therapist, therapy, stress, ذہنی صحت
ent | ENT specialist | ماہر امراض ناک کان گلا | أنف وأذن وحنجرة
    otolaryngology, otolaryngologist, ear, nose, throat, sinus, hearing, کان, ناک, گلا, أذن
ophthalmology | Eye specialist | ماہر امراض چشم | طب العيون
    ophthalmology, ophthalmologist, eyes, vision, cataract, آنکھ, آنکھوں, چشم, عيون
optometry | Optometrist | آپٹومیٹرسٹ | فحص البصر
    optometry, glasses, lenses
dentistry | Dentist | دندان ساز | طب الأسنان
    dentistry, dental, teeth, tooth, gums, دانت, دانتوں, أسنان
gastroenterology | Gastroenterologist | ماہر امراض معدہ و جگر | أمراض الجهاز الهضمي
    gastroenterology, stomach, liver, digestion, hepatitis, ulcer, معدہ, جگر, معدة
pulmonology | Pulmonologist | ماہر امراض سینہ | أمراض الصدر
    pulmonology, lungs, asthma, breathing, tuberculosis, پھیپھڑے, سانس, دمہ, صدر
nephrology | Nephrologist | ماہر امراض گردہ | أمراض الكلى
    nephrology, kidney, dialysis, گردہ, گردے, كلى
urology | Urologist | ماہر امراض مثانہ | المسالك البولية
    urology, bladder, prostate, urine, مثانہ, بولية
endocrinology | Endocrinologist | ماہر امراض ہارمون | الغدد الصماء
    endocrinology, diabetes, diabetologist, thyroid, hormone, sugar, شوگر, ذیابیطس, سكري, غدد
oncology | Oncologist | ماہر امراض سرطان | طب الأورام
    oncology, cancer, tumour, tumor, کینسر, سرطان, أورام
haematology | Haematologist | ماہر امراض خون | أمراض الدم
    haematology, hematology, hematologist, blood, anaemia, anemia, thalassaemia, خون, دم
rheumatology | Rheumatologist | ماہر امراض جوڑ | أمراض الروماتيزم
    rheumatology, arthritis, lupus, گٹھیا, روماتيزم
infectious-disease | Infectious disease specialist | ماہر متعدی امراض | الأمراض المعدية
    infection, dengue, malaria, typhoid, covid, hiv, ڈینگی, ملیریا
allergy | Allergist | ماہر الرجی | الحساسية والمناعة
    allergy, immunology, immunologist, الرجی, حساسية
general-surgery | General surgeon | جنرل سرجن | الجراحة العامة
    surgery, surgeon, hernia, appendix, gallbladder, آپریشن, جراح
plastic-surgery | Plastic surgeon | پلاسٹک سرجن | جراحة التجميل
    cosmetic, burns, aesthetic, تجميل
vascular-surgery | Vascular surgeon | ویسکولر سرجن | جراحة الأوعية الدموية
    veins, varicose
fertility | Fertility specialist | ماہر بانجھ پن | الخصوبة والعقم
    ivf, infertility, بانجھ پن, عقم
sexology | Sexual health specialist | ماہر جنسی صحت | الصحة الجنسية
    sexology, sexologist, andrology
physiotherapy | Physiotherapist | فزیو تھراپسٹ | العلاج الطبيعي
    physiotherapy, physical therapy, rehabilitation, sports injury, فزیو
nutrition | Nutritionist | ماہر غذائیت | التغذية
    nutrition, dietitian, dietician, diet, weight, obesity, غذا, وزن, تغذية
speech-therapy | Speech therapist | ماہر گویائی | علاج النطق
    speech, language, stammering, نطق
pain-medicine | Pain specialist | ماہر درد | علاج الألم
    pain, anaesthesia, درد, ألم
geriatrics | Geriatrician | ماہر امراض بزرگاں | طب الشيخوخة
    geriatrics, elderly, dementia, بزرگ
radiology | Radiologist | ریڈیالوجسٹ | الأشعة
    radiology, ultrasound, xray, mri, أشعة
pathology | Pathologist | پیتھالوجسٹ | علم الأمراض
    pathology, laboratory
emergency-medicine | Emergency physician | ایمرجنسی فزیشن | طب الطوارئ
    urgent, accident, طوارئ
sports-medicine | Sports physician | ماہر کھیل طب | الطب الرياضي
    sports, athlete
midwifery | Midwife | دائی | القبالة
    midwifery, birth, قابلة
nursing | Nurse | نرس | التمريض
    nursing, home care, ممرضة
homeopathy | Homeopath | ہومیو پیتھ | المعالجة المثلية
    homeopathy, homeopathic, ہومیو
unani | Hakeem | حکیم | الطب اليوناني
    unani, hakim, tibb, herbal, حکمت
ayurveda | Ayurvedic physician | آیورویدک معالج | الأيورفيدا
    ayurveda, vaidya
wellness | Wellness and fitness coach | فٹنس کوچ | مدرب لياقة
    yoga, fitness, coach, meditation, class, یوگا, يوغا
"""


def _catalogue() -> tuple[Specialty, ...]:
    entries: list[tuple[list[str], list[str]]] = []
    for line in _TABLE.strip().splitlines():
        if line.startswith(" "):
            entries[-1][1].extend(each.strip() for each in line.split(",") if each.strip())
        else:
            entries.append(([each.strip() for each in line.split("|")], []))
    return tuple(
        Specialty(code, english, urdu, arabic, tuple(synonyms)) for (code, english, urdu, arabic), synonyms in entries
    )


CATALOGUE: Final = _catalogue()
BY_CODE: Final = {each.code: each for each in CATALOGUE}

# Words that stand in many names, or in many questions, and lead to none of them.
_FILLERS: Final = frozenset(
    words("specialist expert physician medicine health disease care clinic hospital")
    + words("the a and for of in near me best good online consultation")
    + words("امراض ماہر و کا کے کی میں اسپیشلسٹ ہسپتال کلینک")
    + words("طب أمراض جراحة علاج صحة في عيادة مستشفى")
)


def filler(word: str) -> bool:
    """Whether a folded word says nothing about which provider is meant."""
    return word in _FILLERS


def _vocabulary() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for entry in CATALOGUE:
        for text in (entry.code, entry.en, entry.ur, entry.ar, *entry.synonyms):
            for word in words(text.replace("-", " ")):
                if word not in _FILLERS and len(word) > 1:
                    found.setdefault(word, set()).add(entry.code)
    return {word: frozenset(codes) for word, codes in found.items()}


_VOCABULARY: Final = _vocabulary()
_MISTYPED: Final = Vocabulary(word for word in _VOCABULARY if len(word) >= _FEWEST_LETTERS_OF_A_PREFIX)


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
    if len(word) < _FEWEST_LETTERS_OF_A_PREFIX:
        return frozenset()
    near = _MISTYPED.near(word)
    return frozenset(code for slips, other in near if slips == near[0][0] for code in _VOCABULARY[other])
