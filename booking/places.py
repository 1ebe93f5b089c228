"""Main cities of the countries that we serve, with coordinates: enough to search "near Lahore" without a map service.

Coordinates are those of the centre, in degrees, good to about a kilometre. What is smaller than a city comes from the
location's own coordinates.
"""

import math
from functools import cache
from typing import Final

from msgspec import Struct

from booking.providers.normalise import Vocabulary, distance, fold, script, tolerance, words

EARTH_RADIUS_KM: Final = 6371.0088
_ARABIC_SCRIPT: Final = frozenset({"ar", "ur", "fa", "ps", "sd"})


@cache
def _own_script(name: str) -> str:
    """Of one of the catalogue's names."""
    return script(fold(name))


class Place(Struct, frozen=True):
    """A city. ``names`` are its spellings, the first two shown: English and that of the country."""

    code: str
    country: str
    names: tuple[str, ...]
    latitude: float
    longitude: float
    timezone: str

    def name(self, locale: str) -> str:
        """English, or as the country writes it when ``locale`` is written in its script."""
        return (
            self.names[1]
            if _own_script(self.names[1]) == "a" and locale.partition("-")[0].lower() in _ARABIC_SCRIPT
            else self.names[0]
        )


_COUNTRIES: Final[dict[str, tuple[str, str]]] = {
    "PK": (
        "Asia/Karachi",
        """Karachi,کراچی:24.861:67.010|Lahore,لاہور:31.549:74.344|Islamabad,اسلام آباد:33.694:73.065
        Rawalpindi,راولپنڈی,pindi:33.598:73.044|Faisalabad,فیصل آباد,lyallpur:31.418:73.079|Multan,ملتان:30.157:71.525
        Peshawar,پشاور:34.008:71.578|Quetta,کوئٹہ:30.184:66.998|Hyderabad Sindh,حیدرآباد,hyderabad:25.392:68.374
        Gujranwala,گوجرانوالہ:32.162:74.188|Sialkot,سیالکوٹ:32.493:74.531|Bahawalpur,بہاولپور:29.396:71.683
        Sargodha,سرگودھا:32.084:72.671|Sukkur,سکھر:27.705:68.857|Abbottabad,ایبٹ آباد:34.149:73.199
        Mardan,مردان:34.198:72.040|Larkana,لاڑکانہ:27.559:68.212|Sahiwal,ساہیوال:30.668:73.107
        Rahim Yar Khan,رحیم یار خان:28.420:70.303|Gujrat,گجرات:32.574:74.079|Jhelum,جہلم:32.941:73.728
        Dera Ghazi Khan,ڈیرہ غازی خان:30.056:70.635|Mirpur,میرپور:33.148:73.752|Muzaffarabad,مظفرآباد:34.370:73.471
        Gilgit,گلگت:35.920:74.308|Gwadar,گوادر:25.126:62.322|Swat,سوات,mingora:34.772:72.360""",
    ),
    "AE": (
        "Asia/Dubai",
        """Dubai,دبي:25.205:55.271|Abu Dhabi,أبوظبي,أبو ظبي:24.454:54.377|Sharjah,الشارقة:25.346:55.421
        Ajman,عجمان:25.405:55.514|Al Ain,العين:24.208:55.745|Ras Al Khaimah,رأس الخيمة:25.789:55.943
        Fujairah,الفجيرة:25.129:56.326|Umm Al Quwain,أم القيوين:25.565:55.555""",
    ),
    "QA": (
        "Asia/Qatar",
        """Doha,الدوحة:25.285:51.531|Al Rayyan,الريان:25.292:51.424|Al Wakrah,الوكرة:25.166:51.598
        Al Khor,الخور:25.684:51.497|Lusail,لوسيل:25.431:51.491""",
    ),
    "SA": (
        "Asia/Riyadh",
        """Riyadh,الرياض:24.714:46.675|Jeddah,جدة:21.486:39.193|Makkah,مكة,mecca:21.389:39.858
        Madinah,المدينة المنورة,medina:24.525:39.569|Dammam,الدمام:26.420:50.089|Khobar,الخبر:26.217:50.197
        Taif,الطائف:21.270:40.416|Tabuk,تبوك:28.384:36.566|Buraidah,بريدة:26.326:43.975|Abha,أبها:18.246:42.512
        Hail,حائل:27.511:41.721|Jubail,الجبيل:27.000:49.660|Najran,نجران:17.565:44.229|Yanbu,ينبع:24.089:38.064""",
    ),
    "ZA": (
        "Africa/Johannesburg",
        """Johannesburg,eGoli,joburg:-26.204:28.047|Cape Town,Kaapstad:-33.925:18.424|Durban,eThekwini:-29.858:31.022
        Pretoria,Tshwane:-25.748:28.229|Gqeberha,Port Elizabeth:-33.960:25.602|Bloemfontein,Mangaung:-29.118:26.223
        East London,Oos-Londen:-33.015:27.912|Polokwane,Pietersburg:-23.905:29.469|Mbombela,Nelspruit:-25.475:30.969
        Kimberley,Kimberley:-28.738:24.764|Pietermaritzburg,uMgungundlovu:-29.600:30.379|Soweto,Soweto:-26.268:27.859
        Rustenburg,Rustenburg:-25.667:27.242|George,George:-33.964:22.459""",
    ),
    "IN": (
        "Asia/Kolkata",
        """Mumbai,मुंबई,bombay,ممبئی:19.076:72.878|Delhi,दिल्ली,new delhi,دہلی:28.644:77.216
        Bengaluru,ಬೆಂಗಳೂರು,bangalore:12.972:77.594|Hyderabad Deccan,हैदराबाद,hyderabad:17.385:78.487
        Chennai,சென்னை,madras:13.083:80.271|Kolkata,কলকাতা,calcutta:22.573:88.364|Ahmedabad,અમદાવાદ:23.023:72.571
        Pune,पुणे,poona:18.520:73.857|Jaipur,जयपुर:26.912:75.787|Lucknow,लखनऊ,لکھنؤ:26.847:80.946
        Surat,સુરત:21.170:72.831|Kanpur,कानपुर:26.450:80.332|Nagpur,नागपुर:21.146:79.088|Indore,इंदौर:22.720:75.858
        Bhopal,भोपाल,بھوپال:23.260:77.413|Patna,पटना:25.594:85.138|Kochi,കൊച്ചി,cochin:9.931:76.267
        Srinagar,سرینگر:34.084:74.797|Amritsar,ਅੰਮ੍ਰਿਤਸਰ:31.634:74.872|Chandigarh,चंडीगढ़:30.734:76.779
        Guwahati,গুৱাহাটী:26.145:91.736|Visakhapatnam,విశాఖపట్నం,vizag:17.687:83.219
        Coimbatore,கோயம்புத்தூர்:11.017:76.956|Thiruvananthapuram,തിരുവനന്തപുരം,trivandrum:8.524:76.936""",
    ),
}


def _places() -> tuple[Place, ...]:
    found = []
    for country, (timezone, table) in _COUNTRIES.items():
        for line in table.replace("\n", "|").split("|"):
            if line.strip():
                names, latitude, longitude = line.strip().split(":")
                spellings = tuple(names.split(","))
                code = f"{country.lower()}-{spellings[0].lower().replace(' ', '-')}"
                found.append(Place(code, country, spellings, float(latitude), float(longitude), timezone))
    return tuple(found)


PLACES: Final = _places()
BY_CODE: Final = {place.code: place for place in PLACES}
_NAMES: Final = tuple((tuple(words(name)), place) for place in PLACES for name in place.names)


def matching(text: str, limit: int = 10) -> list[Place]:
    """Places whose name begins like ``text``; when none does, those that differ by a slip or two."""
    typed = words(text)
    if not typed:
        return list(PLACES[:limit])
    joined = " ".join(typed)
    found = {place.code: place for name, place in _NAMES if " ".join(name).startswith(joined)}
    if not found:
        most = tolerance(joined)
        found = {place.code: place for name, place in _NAMES if distance(" ".join(name), joined, most) <= most}
    return list(found.values())[:limit]


def nearest(latitude: float, longitude: float, within_km: float = 40.0) -> Place | None:
    """The place whose centre is nearest, if it is near enough to say "in" it."""
    best = min(PLACES, key=lambda place: ground_km(latitude, longitude, place.latitude, place.longitude))
    return best if ground_km(latitude, longitude, best.latitude, best.longitude) <= within_km else None


def ground_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Great circle by the haversine formula, mean radius of the earth; all in degrees."""
    north, east = math.radians(other_latitude - latitude), math.radians(other_longitude - longitude)
    square = math.sin(north / 2) ** 2 + (
        math.cos(math.radians(latitude)) * math.cos(math.radians(other_latitude)) * math.sin(east / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, square)))


def _named() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for name, place in _NAMES:
        found.setdefault(" ".join(name), set()).add(place.code)
    return {name: frozenset(codes) for name, codes in found.items()}


_NAMED: Final = _named()
_FEWEST_LETTERS: Final = 4
_MISTYPED: Final = Vocabulary(name for name in _NAMED if " " not in name and len(name) >= _FEWEST_LETTERS)


def meant_by(name: str) -> frozenset[str]:
    """Codes of the places that folded words, joined by blanks, name."""
    return _NAMED.get(name, frozenset())


def perhaps_meant_by(word: str) -> frozenset[str]:
    """Codes of places whose name of one word differs from ``word`` by slips only."""
    if len(word) < _FEWEST_LETTERS:
        return frozenset()
    return frozenset(code for _, name in _MISTYPED.near(word) for code in _NAMED[name])
