"""What others see of a provider: the card in a list, and the profile with what search engines read.

Both are given only for providers in `provider_search` whose licence has not run out; everybody else does not exist for
a visitor. The profile's JSON-LD is schema.org's Physician; numbers in it are those on the page, as its guidelines ask.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from backplane.postgres import Connection, Row
from booking import specialties
from booking.places import nearest

SLUG: Final = re.compile("[a-z0-9-]{1,80}")  # an id is one too
MAX_DESCRIPTION: Final = 155  # what search engines show of it

# ISO 4217, where it is not 2.
_EXPONENTS: Final = {"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3, "JPY": 0, "KRW": 0, "UGX": 0}

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


class Money(Struct, frozen=True):
    """An amount in the smallest unit of an ISO 4217 currency."""

    amount_minor: int
    currency: str


class Named(Struct, frozen=True):
    """A code with its name in the language asked for."""

    code: str
    name: str


class Rating(Struct, frozen=True):
    """``average``: of 1 to 5 stars, None before the first review."""

    average: float | None
    count: int


class Card(Struct, frozen=True, kw_only=True):
    """A provider in a list. ``next_free_at``: of any service. ``distance_km``: from `near`, when it was given."""

    id: UUID
    slug: str
    name: str
    title: str
    gender: str | None
    languages: list[str]
    specialties: list[Named]
    kinds: list[str]
    price_from: Money | None
    rating: Rating
    next_free_at: datetime | None
    online: bool
    place: Named | None
    distance_km: float | None = None


class Spot(Struct, frozen=True):
    """Where a provider receives people."""

    name: str
    address: str
    latitude: float | None
    longitude: float | None
    timezone: str


class Offer(Struct, frozen=True):
    """A service that can be booked."""

    id: UUID
    name: str
    kind: str
    minutes: int
    price: Money
    capacity: int
    notice_minutes: int
    horizon_days: int


class Licence(Struct, frozen=True):
    """A licence that we have verified."""

    issuer: str
    country: str
    number: str


class Seo(Struct, frozen=True):
    """For the head of the profile's page. ``json_ld`` is text that is safe inside a script element."""

    title: str
    description: str
    canonical: str
    json_ld: str


class Profile(Struct, frozen=True, kw_only=True):
    """Everything a visitor may know of a provider."""

    card: Card
    bio: str
    timezone: str
    location: Spot | None
    services: list[Offer]
    licences: list[Licence]
    seo: Seo


_CARD: Final = """
    SELECT p.*, s.rating, s.facets, l.name AS location_name, l.address, l.latitude, l.longitude,
           l.timezone AS location_timezone
    FROM provider p JOIN provider_search s ON s.provider_id = p.id LEFT JOIN location l ON l.id = p.location_id
    WHERE p.status = 'approved' AND s.listed_until > $1"""


async def cards(
    connection: Connection, wanted: Sequence[UUID], distances: Mapping[UUID, float | None], locale: str, now: datetime
) -> list[Card]:
    """The cards of providers in the order of ``wanted``; those that are not listed are left out."""
    rows = await connection.fetch(f"{_CARD} AND p.id = ANY($2)", now, list(wanted))
    by_id = {row["id"]: row for row in rows}
    return [_card(by_id[each], distances.get(each), locale, now) for each in wanted if each in by_id]


def _card(row: Row, distance_km: float | None, locale: str, now: datetime) -> Card:
    place = None
    if row["latitude"] is not None and row["longitude"] is not None:
        city = nearest(row["latitude"], row["longitude"])
        place = None if city is None else Named(city.code, city.name(locale))
    facets = [facet.split(":")[1:] for facet in row["facets"]]
    return Card(
        id=row["id"],
        slug=row["slug"],
        name=row["display_name"],
        title=row["title"],
        gender=row["gender"],
        languages=row["languages"],
        specialties=[
            Named(code, specialties.BY_CODE[code].name(locale))
            for code in row["specialties"]
            if code in specialties.BY_CODE
        ],
        kinds=[value for kind, value in facets if kind == "k"],
        price_from=None
        if row["price_from_minor"] is None or row["currency"] is None
        else Money(row["price_from_minor"], row["currency"]),
        rating=Rating(None if row["rating"] is None else round(row["rating"], 2), row["rating_count"]),
        next_free_at=row["next_free_at"],
        online=row["online_until"] is not None and row["online_until"] > now,
        place=place,
        distance_km=None if distance_km is None else round(distance_km, 1),
    )


async def profile(connection: Connection, reference: str, locale: str, base_url: str, now: datetime) -> Profile | None:
    """The profile of the listed provider with this id or slug. ``base_url``: scheme and host that it is known under."""
    if SLUG.fullmatch(reference) is None:
        return None
    try:
        row = await connection.fetchrow(f"{_CARD} AND p.id = $2", now, UUID(reference))
    except ValueError:
        row = await connection.fetchrow(f"{_CARD} AND p.slug = $2", now, reference)
    if row is None:
        return None
    services = await connection.fetch(
        "SELECT * FROM service WHERE provider_id = $1 AND active ORDER BY price_minor, id", row["id"]
    )
    licences = await connection.fetch(
        """
        SELECT issuer, country, number FROM credential
        WHERE provider_id = $1 AND kind = 'licence' AND state = 'verified' AND coalesce(expires_at, 'infinity') > $2
        ORDER BY created_at""",
        row["id"],
        now,
    )
    card = _card(row, None, locale, now)
    spot = None
    if row["location_name"] is not None:
        spot = Spot(row["location_name"], row["address"], row["latitude"], row["longitude"], row["location_timezone"])
    return Profile(
        card=card,
        bio=row["bio"],
        timezone=row["timezone"],
        location=spot,
        services=[
            Offer(
                each["id"],
                each["name"],
                each["kind"],
                each["minutes"],
                Money(each["price_minor"], each["currency"]),
                each["capacity"],
                each["notice_minutes"],
                each["horizon_days"],
            )
            for each in services
        ],
        licences=[Licence(each["issuer"], each["country"], each["number"]) for each in licences],
        seo=_seo(card, row["bio"], spot, f"{base_url}/doctors/{card.slug}"),
    )


def _seo(card: Card, bio: str, spot: Spot | None, canonical: str) -> Seo:
    what = ", ".join(each.name for each in card.specialties)
    shown = f"{card.title} {card.name}".strip()
    title = " · ".join(part for part in (shown, what, card.place.name if card.place else "") if part)
    described = " ".join(bio.split()) or title
    if len(described) > MAX_DESCRIPTION:
        described = described[: MAX_DESCRIPTION - 1].rsplit(" ", 1)[0] + "…"
    return Seo(title, described, canonical, script_safe(_physician(card, described, spot, canonical)))


def _physician(card: Card, description: str, spot: Spot | None, canonical: str) -> dict[str, Json]:
    said: dict[str, Json] = {
        "@context": "https://schema.org",
        "@type": "Physician",
        "@id": canonical,
        "url": canonical,
        "name": f"{card.title} {card.name}".strip(),
        "description": description,
        "medicalSpecialty": [each.name for each in card.specialties],
        "knowsLanguage": list(card.languages),
    }
    if spot is not None:
        address: dict[str, Json] = {"@type": "PostalAddress", "name": spot.name, "streetAddress": spot.address}
        if card.place is not None:
            address["addressLocality"] = card.place.name
            address["addressCountry"] = card.place.code[:2].upper()
        said["address"] = address
        if spot.latitude is not None and spot.longitude is not None:
            said["geo"] = {"@type": "GeoCoordinates", "latitude": spot.latitude, "longitude": spot.longitude}
    if card.price_from is not None:
        said["priceRange"] = f"from {_amount(card.price_from)}"
        said["currenciesAccepted"] = card.price_from.currency
    if card.rating.average is not None and card.rating.count:
        said["aggregateRating"] = {
            "@type": "AggregateRating",
            "ratingValue": card.rating.average,
            "reviewCount": card.rating.count,
            "bestRating": 5,
            "worstRating": 1,
        }
    return said


def _amount(money: Money) -> str:
    exponent = _EXPONENTS.get(money.currency, 2)
    whole, rest = divmod(money.amount_minor, 10**exponent)
    return f"{money.currency} {whole}" + (f".{rest:0{exponent}}" if rest else "")


def script_safe(value: Json) -> str:
    """JSON that cannot end the script element it stands in, nor open a comment there."""
    return msgspec.json.encode(value).decode().replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
