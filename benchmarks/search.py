"""How long a search takes at 1,000, 10,000 and 100,000 providers in one clinic, for every kind of question.

    python -m benchmarks.search [--sizes 1000,10000,100000] [--rounds 30] [--url URL]

Without --url a private Postgres is started in a temporary directory. Each kind has its own words, drawn anew from one
seed for each round: names that are common and rare, begun, misspelt, in the other script and of nobody; filters alone
and together; every order; deep pages. Time is the whole of `find`, over the pool, one search at a time. The exit status
is 1 when a kind's 95th percentile is above the bar at the largest size.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from backplane import embedded_postgres
from backplane.migrations import all_series, migrate
from backplane.postgres import Database
from benchmarks import booking_data
from benchmarks.booking_names import Names
from booking.places import PLACES
from booking.providers.search import Wanted, find
from booking.specialties import CATALOGUE

BAR_MS: Final = 50.0
_ROOT: Final = Path(__file__).resolve().parent.parent
_CITIES: Final = PLACES[:12]

Question = Callable[[random.Random, datetime], Wanted]


def _spoil(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, max(2, len(word) - 1))
    letter = rng.choice("aeiourst")
    return rng.choice((word[:at] + word[at + 1 :], word[:at] + letter + word[at:], word[:at] + letter + word[at + 1 :]))


def _name(rng: random.Random) -> str:
    return Names(rng).draw(rng.choice(("female", "male")))


def _near(rng: random.Random) -> tuple[float, float]:
    place = rng.choice(_CITIES)
    return place.latitude + rng.gauss(0, 0.05), place.longitude + rng.gauss(0, 0.05)


def _specialty(rng: random.Random) -> str:
    return f"s:{rng.choice(CATALOGUE[:25]).code}"


QUESTIONS: Final[dict[str, Question]] = {
    "browse": lambda rng, now: Wanted(),
    "common name": lambda rng, now: Wanted(rng.choice(("khan", "ahmed", "muhammad", "ayesha", "خان", "محمد"))),
    "full name": lambda rng, now: Wanted(_name(rng)),
    "begun name": lambda rng, now: Wanted(_name(rng)[: rng.randrange(2, 5)]),
    "misspelt name": lambda rng, now: Wanted(" ".join(_spoil(word, rng) for word in _name(rng).split()[:2])),
    "one misspelt word": lambda rng, now: Wanted(_spoil(_name(rng).split()[0], rng)),
    "nobody": lambda rng, now: Wanted("".join(rng.choice("bcdfghjklmnpqrstvwxz") for _ in range(8))),
    "nobody, common parts": lambda rng, now: Wanted(
        f"khanahmed{rng.choice('aeiou')}mal shahmuham{rng.choice('aeiou')}"
    ),
    "six words": lambda rng, now: Wanted(f"{_name(rng)} {_name(rng)} {_name(rng)}"),
    "complaint and city": lambda rng, now: Wanted(
        f"{rng.choice(('skin', 'heart', 'دل', 'diabetes'))} doctor {rng.choice(_CITIES).names[0]}"
    ),
    "misspelt specialty": lambda rng, now: Wanted(
        _spoil(rng.choice(("dermatologist", "cardiologist", "dentist")), rng)
    ),
    "name, by price": lambda rng, now: Wanted(_name(rng).split()[0], sort="price"),
    "name, soonest": lambda rng, now: Wanted(_name(rng).split()[0], sort="soonest"),
    "name nearby": lambda rng, now: Wanted(_name(rng).split()[0], near=_near(rng), radius_km=25, sort="distance"),
    "specialty": lambda rng, now: Wanted(facets=(_specialty(rng),)),
    "specialty, soonest": lambda rng, now: Wanted(facets=(_specialty(rng),), sort="soonest"),
    "specialty, price": lambda rng, now: Wanted(facets=(_specialty(rng),), sort="price", price_max_minor=300_000),
    "specialty nearby": lambda rng, now: Wanted(
        facets=(_specialty(rng),), near=_near(rng), radius_km=25, sort="distance"
    ),
    "nearest": lambda rng, now: Wanted(near=_near(rng), sort="distance"),
    "best nearby": lambda rng, now: Wanted(near=_near(rng), radius_km=25, sort="rating"),
    "soonest": lambda rng, now: Wanted(sort="soonest"),
    "cheapest": lambda rng, now: Wanted(sort="price", currency="PKR"),
    "online now": lambda rng, now: Wanted(online=True),
    "online of a specialty": lambda rng, now: Wanted(online=True, facets=(_specialty(rng),)),
    "free within a day": lambda rng, now: Wanted(free_before=now + timedelta(days=1)),
    "language and gender": lambda rng, now: Wanted(facets=("g:female", f"l:{rng.choice(('ur', 'ar', 'zu'))}")),
    "all filters": lambda rng, now: Wanted(
        facets=(_specialty(rng), "g:female", "l:ur", "k:video"),
        price_max_minor=500_000,
        currency="PKR",
        rating_min=4.0,
        free_before=now + timedelta(days=3),
        near=_near(rng),
        radius_km=50,
    ),
    "filters that nobody meets": lambda rng, now: Wanted(
        facets=(_specialty(rng), "l:zu"),
        price_max_minor=60_000,
        rating_min=4.9,
        online=True,
        sort=rng.choice(("price", "soonest")),
    ),
    "too dear": lambda rng, now: Wanted(price_max_minor=1, sort="rating"),
    "excellent only": lambda rng, now: Wanted(rating_min=4.95, sort=rng.choice(("price", "soonest"))),
}
_DEEP_PAGES: Final = 10


async def measure(database: Database, tenant: int, rounds: int, now: datetime) -> dict[str, list[float]]:
    """Milliseconds of each search by kind of question; "tenth page" goes through ten pages of each browse."""
    times: dict[str, list[float]] = {kind: [] for kind in (*QUESTIONS, "tenth page")}
    rng = random.Random(7)
    async with database.tenant(tenant) as connection:
        for number in range(rounds + 2):
            for kind, question in QUESTIONS.items():
                wanted = question(rng, now)
                began = time.perf_counter()
                await find(connection, tenant, wanted, cursor=None, limit=20, now=now)
                if number >= 2:  # two to warm up
                    times[kind].append((time.perf_counter() - began) * 1000)
            wanted = rng.choice(
                (Wanted(), Wanted(sort="soonest"), Wanted("khan"), Wanted(near=_near(rng), sort="distance"))
            )
            cursor, taken = None, 0.0
            for _ in range(_DEEP_PAGES):
                began = time.perf_counter()
                cursor = (await find(connection, tenant, wanted, cursor=cursor, limit=20, now=now)).cursor
                taken = (time.perf_counter() - began) * 1000
            times["tenth page"].append(taken)
    return times


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def run(url: str, size: int, rounds: int) -> bool:
    """Fills, measures and prints one size; whether all kinds are within the bar."""
    await migrate(url, all_series(_ROOT))
    database = await Database.open(url)
    now = datetime.now(UTC)
    tenant = await booking_data.clinic(database, f"bench{size}")
    async with database.platform() as connection:
        present = await connection.fetchval("SELECT count(*) FROM provider WHERE tenant_id = $1", tenant)
    if present < size:
        began = time.perf_counter()
        await booking_data.fill(database, tenant, size - present, seed=size, now=now)
        print(f"filled {size - present} providers in {time.perf_counter() - began:.1f} s")
    times = await measure(database, tenant, rounds, now)
    await database.close()
    print(f"{size} providers, ms       median     p95     max")
    for kind, values in sorted(times.items(), key=lambda each: -percentile(each[1], 0.95)):
        print(f"  {kind:28}{statistics.median(values):8.1f}{percentile(values, 0.95):8.1f}{max(values):8.1f}")
    every = [value for values in times.values() for value in values]
    print(f"  {'all together':28}{statistics.median(every):8.1f}{percentile(every, 0.95):8.1f}{max(every):8.1f}")
    return all(percentile(values, 0.95) <= BAR_MS for values in times.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url")
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    good = True
    if given.url:
        for size in sizes:
            good = asyncio.run(run(given.url, size, given.rounds))
        return 0 if good else 1
    with tempfile.TemporaryDirectory(prefix="wadud-search-") as directory:
        Path(directory).chmod(0o711)
        with embedded_postgres.running(Path(directory) / "postgres") as cluster:
            for size in sizes:
                good = asyncio.run(run(cluster.url(), size, given.rounds))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
