"""Names for made-up doctors: common ones in Latin and Arabic script, and a long tail that is put together.

Real directories have a few names that every tenth doctor bears and tens of thousands that hardly anybody does; both
ends matter to a search. So common names are drawn by rank (Zipf) and one in five is made of syllables.
"""

import random
from typing import Final

FEMALE: Final = """
Ayesha عائشہ|Fatima فاطمہ|Maryam مریم|Zainab زینب|Khadija خدیجہ|Sana ثنا|Hina حنا
Sadia سعدیہ|Nadia نادیہ|Bushra بشریٰ|Rabia رابعہ|Saima صائمہ|Amna آمنہ|Iqra اقرا
Mehwish مہوش|Noor نور|Sidra سدرہ|Samina ثمینہ|Shazia شازیہ|Uzma عظمیٰ|Farah فرح
Asma اسما|Lubna لبنیٰ|Tahira طاہرہ|Rukhsana رخسانہ|Nighat نگہت|Shabnam شبنم
Yasmin یاسمین|Zahra زہرا|Huma ہما|Kiran کرن|Mahnoor ماہ نور|Aisha عائشہ
Mariam مریم|Zaynab زینب|Layla لیلیٰ|Salma سلمیٰ|Safia صفیہ|Humaira حمیرا
Kulsoom کلثوم|Parveen پروین|Nasreen نسرین
"""
MALE: Final = """
Muhammad محمد|Ahmed احمد|Ali علی|Hassan حسن|Hussain حسین|Usman عثمان|Umar عمر
Bilal بلال|Imran عمران|Tariq طارق|Khalid خالد|Salman سلمان|Faisal فیصل
Kamran کامران|Asif آصف|Nadeem ندیم|Waqar وقار|Adnan عدنان|Zubair زبیر|Yousuf یوسف
Ibrahim ابراہیم|Ismail اسماعیل|Abdullah عبداللہ|Rashid راشد|Shahid شاہد
Javed جاوید|Arif عارف|Naveed نوید|Farooq فاروق|Saeed سعید|Iqbal اقبال|Aslam اسلم
Mohammed محمد|Ahmad احمد|Omar عمر|Yusuf یوسف|Jawad جواد|Sohail سہیل|Shoaib شعیب
Mubashir مبشر|Zeeshan ذیشان|Danish دانش|Rizwan رضوان
"""
FAMILY: Final = """
Khan خان|Ahmed احمد|Malik ملک|Hussain حسین|Butt بٹ|Sheikh شیخ|Qureshi قریشی
Chaudhry چودھری|Siddiqui صدیقی|Shah شاہ|Mirza مرزا|Raja راجہ|Bhatti بھٹی
Ansari انصاری|Hashmi ہاشمی|Abbasi عباسی|Baig بیگ|Rana رانا|Mughal مغل|Javed جاوید
Akhtar اختر|Aslam اسلم|Dar ڈار|Gill گل|Awan اعوان|Khattak خٹک|Afridi آفریدی
Yousafzai یوسفزئی|Durrani درانی|Baloch بلوچ|Soomro سومرو|Memon میمن|Jatoi جتوئی
Naqvi نقوی|Zaidi زیدی|Rizvi رضوی|Bukhari بخاری|Gillani گیلانی|Al-Farsi الفارسي
Al-Qahtani القحطاني|Al-Thani آل ثاني|Naidoo نائیڈو|Patel پٹیل|Sharma شرما
Iyer آئیر|Nkosi نکوسی|Dlamini دلامینی|van-Wyk وان وک|Fernandes فرنانڈس
DSouza ڈیسوزا|Kapoor کپور|Reddy ریڈی
"""
_ONSETS: Final = [*"bdfghjklmnpqrstvwyz", "sh", "kh", "gh", "ch", "th", "dh", "bh", "zh", "st", "tr", "br", "gr"]
_VOWELS: Final = [*"aaaeiou", "aa", "ee", "oo", "ai", "au", "ei", "ia"]
_CODAS: Final = ["", "", "", "n", "r", "m", "l", "d", "z", "sh", "f", "kh", "b", "t"]


def _pairs(table: str) -> list[tuple[str, str]]:
    found = []
    for each in table.strip().replace("\n", "|").split("|"):
        latin, _, arabic = each.partition(" ")
        found.append((latin, arabic))
    return found


class Names:
    """Draws names; the same seed, the same names."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._given = {"female": _pairs(FEMALE), "male": _pairs(MALE)}
        self._family = _pairs(FAMILY)
        self._weights = {
            size: [1 / (rank + 3) for rank in range(size)]
            for size in {len(self._family), *(len(each) for each in self._given.values())}
        }

    def draw(self, gender: str) -> str:
        """Seven of ten in Latin script, two in Arabic, one in both."""
        given = self._rng.choices(self._given[gender], self._weights[len(self._given[gender])])[0]
        family = self._rng.choices(self._family, self._weights[len(self._family)])[0]
        latin = [given[0], family[0]]
        script = self._rng.random()
        if self._rng.random() < 0.2:
            latin[1] = self._rare()
            script = 0.0
        elif self._rng.random() < 0.25:
            latin.insert(1, self._rng.choice(self._given[gender])[0])
        if script < 0.7:
            return " ".join(latin)
        arabic = f"{given[1]} {family[1]}"
        return arabic if script < 0.9 else f"{' '.join(latin)} {arabic}"

    def _rare(self) -> str:
        syllables = self._rng.choice((2, 2, 3))
        name = "".join(self._rng.choice(_ONSETS) + self._rng.choice(_VOWELS) for _ in range(syllables))
        return (name + self._rng.choice(_CODAS)).capitalize()
