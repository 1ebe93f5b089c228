"""Finding a provider, over HTTP: search, profile, specialties, places. All public, all of the clinic of the host.

Reads carry a tag (ETag) and may be asked again with If-None-Match. What a clinic cannot show (nobody approved, licence
run out) answers like what never was.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from backplane.api import Call, Routes
from backplane.bounds import WIDE
from booking import places, specialties
from booking.providers import views
from booking.providers.search import MAX_PAGE, Wanted, find
from booking.refusals import Malformed, NotFound

DEFAULT_RADIUS_KM: Final = 25.0
_MAX_PRICE_MINOR: Final = 10**12
_DEGREES: Final = r"^-?[0-9]{1,2}(\.[0-9]{1,12})?,-?[0-9]{1,3}(\.[0-9]{1,12})?$"

routes = Routes(tag="discovery")

Code = Annotated[str, Meta(max_length=64)]
Language = Annotated[str, Meta(pattern="^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)]


class ProviderQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """What to search for; all that is given must hold.

    ``q``: names, specialties, complaints and cities in Latin, Urdu or Arabic letters, with slips. ``near``: latitude,
    longitude in degrees; ``place`` names a city instead. ``radius_km`` is 25; sorted by distance there is no
    end. ``price_max`` is in minor units of ``currency``. Sorting by price, time or distance leaves out those without.
    """

    q: Annotated[str, Meta(max_length=200)] = ""
    specialty: Code | None = None
    language: Language | None = None
    gender: Literal["female", "male", "other"] | None = None
    kind: Literal["video", "audio", "in_person", "class"] | None = None
    price_max: Annotated[int, Meta(ge=0, le=_MAX_PRICE_MINOR, extra=WIDE)] | None = None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    rating_min: Annotated[float, Meta(ge=1, le=5)] | None = None
    available_before: Annotated[datetime, Meta(tz=True)] | None = None
    near: Annotated[str, Meta(pattern=_DEGREES)] | None = None
    place: Code | None = None
    radius_km: Annotated[float, Meta(gt=0, le=1000)] | None = None
    online: bool = False
    sort: Literal["relevance", "rating", "price", "soonest", "distance"] = "relevance"
    locale: Language | None = None
    cursor: Annotated[str, Meta(max_length=512)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 20


class ProviderPage(Struct, frozen=True):
    """``similar``: some were found by another spelling than that given. ``next``: cursor of the page that follows."""

    items: list[views.Card]
    similar: bool
    next: str | None = None


class LocaleQuery(Struct, forbid_unknown_fields=True):
    """``locale``: of names; the clinic's when left out."""

    locale: Language | None = None


class PlaceQuery(Struct, forbid_unknown_fields=True):
    """``q``: the beginning of a name, or one with a slip; ``country``: ISO 3166-1 alpha-2."""

    q: Annotated[str, Meta(max_length=80)] = ""
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")] | None = None
    locale: Language | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class SpecialtyName(Struct, frozen=True):
    code: str
    name: str
    names: dict[str, str]


class PlaceName(Struct, frozen=True):
    code: str
    name: str
    country: str
    latitude: float
    longitude: float
    timezone: str


@routes.get(
    "/v1/providers", etag=True, problems={400: ("bad_cursor", "near_required", "unknown_specialty", "unknown_place")}
)
async def search_providers(call: Call, query: ProviderQuery) -> ProviderPage:
    """Search providers."""
    wanted = _wanted(query)
    async with call.db.tenant(call.tenant.id) as connection:
        page = await find(connection, call.tenant.id, wanted, cursor=query.cursor, limit=query.limit, now=call.now)
        ids = [each.provider_id for each in page.found]
        distances = {each.provider_id: each.distance_km for each in page.found}
        cards = await views.cards(connection, ids, distances, query.locale or call.tenant.locale, call.now)
    return ProviderPage(cards, page.mended, page.cursor)


def _wanted(query: ProviderQuery) -> Wanted:
    facets = []
    if query.specialty is not None:
        if query.specialty not in specialties.BY_CODE:
            raise Malformed("unknown_specialty", "Take a code from /v1/specialties, or search by name with q.")
        facets.append(f"s:{query.specialty}")
    if query.language is not None:
        facets.append(f"l:{query.language.partition('-')[0].lower()}")
    if query.gender is not None:
        facets.append(f"g:{query.gender}")
    if query.kind is not None:
        facets.append(f"k:{query.kind}")
    try:
        free_before = query.available_before and query.available_before.astimezone(UTC)
    except OverflowError:  # the first and the last day of the calendar
        raise Malformed("bad_request", "available_before lies outside the years 1 to 9999.") from None
    near = _near(query)
    radius = query.radius_km
    if near is not None and radius is None and query.sort != "distance":
        radius = DEFAULT_RADIUS_KM
    return Wanted(
        text=query.q,
        facets=tuple(facets),
        price_max_minor=query.price_max,
        currency=query.currency,
        rating_min=query.rating_min,
        free_before=free_before,
        online=query.online,
        near=near,
        radius_km=radius if near is not None else None,
        sort=query.sort,
    )


def _near(query: ProviderQuery) -> tuple[float, float] | None:
    if query.place is not None:
        place = places.BY_CODE.get(query.place)
        if place is None:
            raise Malformed("unknown_place", "Take a code from /v1/places, or give near=latitude,longitude.")
        return place.latitude, place.longitude
    if query.near is None:
        return None
    latitude, longitude = (float(part) for part in query.near.split(","))
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise Malformed("bad_request", "near is latitude,longitude in degrees.")
    return latitude, longitude


@routes.get("/v1/providers/{reference}", etag=True, problems={404: ("no_such_provider",)})
async def show_provider(call: Call, reference: str, query: LocaleQuery) -> views.Profile:
    """A provider's profile, by id or by the name in its address."""
    async with call.db.tenant(call.tenant.id) as connection:
        found = await views.profile(
            connection, reference, query.locale or call.tenant.locale, call.clinic_url, call.now
        )
    if found is None:
        raise NotFound("no_such_provider", "This provider is not listed here. Search with /v1/providers.")
    return found


@routes.get("/v1/specialties", etag=True)
async def list_specialties(call: Call, query: LocaleQuery) -> list[SpecialtyName]:
    """The catalogue of specialties."""
    locale = query.locale or call.tenant.locale
    return [
        SpecialtyName(each.code, each.name(locale), {"en": each.en, "ur": each.ur, "ar": each.ar})
        for each in specialties.CATALOGUE
    ]


@routes.get("/v1/places", etag=True)
async def list_places(call: Call, query: PlaceQuery) -> list[PlaceName]:
    """Cities by the beginning of their name."""
    locale = query.locale or call.tenant.locale
    found = places.matching(query.q, limit=len(places.PLACES))
    return [
        PlaceName(each.code, each.name(locale), each.country, each.latitude, each.longitude, each.timezone)
        for each in found
        if query.country is None or each.country == query.country
    ][: query.limit]
