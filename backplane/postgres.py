"""The only way to the database: a pool whose every connection belongs to a tenant, or to the platform, while it is out.

Row level security decides by the role and the setting ``app.tenant`` of the session. This module owns both: they are
set before a connection is handed out, remembered with it, and issued again only when the next user is another tenant;
that saves a round trip on most requests. So the pool need not wipe a session on every return, which is safe because
nothing else can change it unseen: asyncpg rolls back what is open, and a statement that leaves something behind in the
session (a lock, LISTEN, SET, a cursor) marks it, and a marked session is wiped whole. While the role or the tenant is
being set, nothing is remembered, so an error or a cancellation in the middle leads to setting both again.

A lost server is `DatabaseUnavailable`, and a statement for which others left no time or no way is `DatabaseBusy`. Every
later use tries anew, so recovery needs no restart.
"""

import asyncio
import re
import select
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import asyncpg
import msgspec

from backplane.logs import Log

if TYPE_CHECKING:
    from collections.abc import Iterator

    _RawConnection = asyncpg.Connection[asyncpg.Record]
    _Pool = asyncpg.Pool[asyncpg.Record]
    _Proxy = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    _RawConnection = asyncpg.Connection

_log = Log(__name__)

APP_ROLE: Final = "wadud_app"
PLATFORM_ROLE: Final = "wadud_platform"
CONNECT_TIMEOUT_S: Final = 5.0
ACQUIRE_TIMEOUT_S: Final = 10.0
STATEMENT_TIMEOUT_S: Final = 15.0
IDLE_IN_TRANSACTION_TIMEOUT_S: Final = 60.0
# the server ends a statement first; this is for a server that answers no more
_CLIENT_GRACE_S: Final = 5.0
_LISTEN_AGAIN_S: Final = 2
_POLL_S: Final = 0.1

Isolation = Literal["read_committed", "repeatable_read", "serializable"]
Row = asyncpg.Record

# Statements whose effect outlives their transaction. A false alarm costs one round trip.
_LEAVES_TRACES: Final = re.compile(
    r"advisory_lock|set_config|(?:^|;)\s*(?:set|reset|listen|prepare|declare|discard|load|create\s+(?:local\s+|global\s+)?temp)\b",
    re.IGNORECASE,
)
_LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,  # the server's farewell came between two statements; the connection is about to close
)
_BUSY: Final = (
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)


class DatabaseUnavailable(Exception):
    """The database cannot be reached or has no connection free. Nothing of an open transaction was kept, unless the
    connection broke during its commit."""


class DatabaseFull(DatabaseUnavailable):
    """The server has no room left on its disk. Nothing of an open transaction was kept; it may have some later."""


class DatabaseBusy(Exception):
    """A statement took longer than it may, or met others of which only one could win. Its transaction is undone."""


PASSING: Final = (DatabaseUnavailable, DatabaseBusy)
"""What says little of the statement, which may be given again: the server was away, or too busy with others."""


class _Session(_RawConnection):
    """A server session with what we know of it. ``scope`` None: nothing."""

    scope: tuple[str, int | None] | None = None
    marked = False


@lru_cache(maxsize=4096)
def _leaves_traces(statement: str) -> bool:
    return _LEAVES_TRACES.search(statement) is not None


@contextmanager
def _as_our_errors(session: _Session) -> "Iterator[None]":
    """Turns what a lost, full or busy server raises into `DatabaseUnavailable`, `DatabaseFull` and `DatabaseBusy`."""
    try:
        yield
    except _BUSY as error:
        _log.warning("statement given up", reason=type(error).__name__)
        raise DatabaseBusy from error
    except asyncpg.DiskFullError as error:
        raise DatabaseFull from error
    except _LOST as error:  # also TimeoutError, an OSError: the server should have ended the statement before
        if isinstance(error, asyncpg.InternalClientError):
            session.terminate()
        raise DatabaseUnavailable from error
    except asyncpg.InterfaceError as error:
        if not session.is_closed():
            raise  # a mistake of ours, such as two statements at once
        raise DatabaseUnavailable from error


class Connection:
    """A connection of one tenant or of the platform, good until its ``async with`` block ends.

    Arguments stand in the SQL as $1, $2, ...; jsonb takes and gives plain values. Every method raises
    `DatabaseUnavailable` when the server is lost, `DatabaseBusy` when it gives the statement up, and asyncpg's errors
    for everything else.
    """

    __slots__ = ("_raw", "_session")

    def __init__(self, raw: "_Proxy", session: _Session) -> None:
        self._raw = raw
        self._session = session

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        """All rows."""
        self._look(query)
        with _as_our_errors(self._session):
            return await self._raw.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> Row | None:
        """The first row, or None."""
        self._look(query)
        with _as_our_errors(self._session):
            return await self._raw.fetchrow(query, *arguments)

    # Any: the type of a column is known to the SQL alone
    async def fetchval(self, query: str, *arguments: object) -> Any:
        """The first column of the first row, or None."""
        self._look(query)
        with _as_our_errors(self._session):
            return await self._raw.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> str:
        """The command tag, such as ``UPDATE 1``. Without arguments ``query`` may hold several statements."""
        self._look(query)
        with _as_our_errors(self._session):
            return await self._raw.execute(query, *arguments)

    async def executemany(self, query: str, rows: Iterable[Sequence[object]]) -> None:
        """The statement once for every row, all or nothing."""
        self._look(query)
        with _as_our_errors(self._session):
            await self._raw.executemany(query, rows)

    @asynccontextmanager
    async def transaction(self, isolation: Isolation | None = None, *, readonly: bool = False) -> AsyncIterator[None]:
        """Commits at the end of the block, rolls back on an error; inside another one it is a savepoint."""
        transaction = self._raw.transaction(isolation=isolation, readonly=readonly)
        with _as_our_errors(self._session):
            await transaction.start()
        try:
            yield
        except BaseException:
            # A lost or released connection has rolled back already. What was raised inside is the reason that counts.
            if not self._session.is_closed() and self._session.is_in_transaction():
                try:
                    await transaction.rollback()
                except _LOST:
                    _log.warning("lost in rollback")
            raise
        with _as_our_errors(self._session):
            await transaction.commit()

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._session.is_in_transaction()

    def _look(self, query: str) -> None:
        if _leaves_traces(query):
            self._session.marked = True


async def _scope(session: _Session, role: str, tenant: int | None) -> None:
    if session.scope == (role, tenant):
        return
    session.scope = None
    setting = "" if tenant is None else str(tenant)
    await session.execute(f"SELECT set_config('role', '{role}', false), set_config('app.tenant', '{setting}', false)")
    session.scope = (role, tenant)


def _has_spoken(session: _Session) -> bool:
    """Whether the server has said something to a session at rest: its farewell, as it owes no answer.

    The loop may not have read it yet. To look costs a microsecond; a statement that is sent after a farewell is lost.
    """
    poller = select.poll()
    poller.register(session._transport.get_extra_info("socket"), select.POLLIN)  # type: ignore[attr-defined]
    return bool(poller.poll(0))


async def _prepare(raw: "_RawConnection") -> None:
    # the binary form of jsonb is a version byte and the text
    await raw.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda data: msgspec.json.decode(memoryview(data)[1:]),
    )


async def _tidy(session: "_RawConnection") -> None:
    """Before a connection goes back: asyncpg has rolled back and dropped listeners of its own."""
    assert isinstance(session, _Session)
    if session.marked:
        session.scope = None
        await session.execute(f"{session.get_reset_query()}\nRESET ROLE; DISCARD TEMP; DEALLOCATE ALL;")
        await session.reload_schema_state()  # forgets the statements that were prepared
        session.marked = False


class Database:
    """A pool of connections to one server. Made by `open`, ended by `close`."""

    def __init__(self, url: str, pool: "_Pool") -> None:
        self.url = url
        self._pool = pool

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        min_size: int = 2,
        max_size: int = 20,
        statement_timeout_s: float = STATEMENT_TIMEOUT_S,
        wait_s: float = 30.0,
    ) -> "Database":
        """Connects, waiting up to ``wait_s`` for a server that is still starting.

        Raises:
            DatabaseUnavailable: there is no server, or it takes nobody, after that time.
            asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError: the URL is wrong.
        """
        give_up = asyncio.get_running_loop().time() + wait_s
        while True:
            pool = asyncpg.create_pool(
                url,
                min_size=min_size,
                max_size=max_size,
                connection_class=_Session,
                init=_prepare,
                reset=_tidy,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=statement_timeout_s + _CLIENT_GRACE_S,
                server_settings={
                    "application_name": "wadud",
                    "timezone": "UTC",
                    "statement_timeout": str(int(statement_timeout_s * 1000)),
                    "idle_in_transaction_session_timeout": str(int(IDLE_IN_TRANSACTION_TIMEOUT_S * 1000)),
                },
            )
            try:
                await pool
            except _LOST as error:
                pool.terminate()
                if asyncio.get_running_loop().time() >= give_up:
                    raise DatabaseUnavailable from error
                await asyncio.sleep(_POLL_S)
                continue
            return cls(url, pool)

    async def close(self) -> None:
        """Waits a moment for connections that are out, then ends all."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def tenant(self, tenant_id: int) -> AsyncGenerator[Connection]:
        """A connection that sees the rows of one tenant and makes rows of that tenant only."""
        async with self._connection(APP_ROLE, int(tenant_id)) as connection:
            yield connection

    @asynccontextmanager
    async def platform(self) -> AsyncGenerator[Connection]:
        """A connection that sees the rows of all tenants; ``tenant_id`` must be written out on insert."""
        async with self._connection(PLATFORM_ROLE, None) as connection:
            yield connection

    async def listen(self, channel: str, wake: Callable[[], None]) -> None:
        """Calls ``wake`` at every NOTIFY on ``channel``, and after every (re)connection, until cancelled."""
        while True:
            lost = asyncio.Event()
            try:
                raw = await asyncpg.connect(self.url, timeout=CONNECT_TIMEOUT_S)
            except (*_LOST, asyncpg.PostgresError, asyncpg.InterfaceError):
                _log.warning("listening waits")
                await asyncio.sleep(_LISTEN_AGAIN_S)
                continue
            try:
                raw.add_termination_listener(lambda _, lost=lost: lost.set())
                await raw.add_listener(channel, lambda *_: wake())
                wake()
                await lost.wait()
            except (*_LOST, asyncpg.PostgresError, asyncpg.InterfaceError):
                _log.warning("listening interrupted")
            finally:
                raw.terminate()
            await asyncio.sleep(_POLL_S)

    @asynccontextmanager
    async def _connection(self, role: str, tenant: int | None) -> AsyncGenerator[Connection]:
        raw, session = await self._acquire(role, tenant)
        try:
            yield Connection(raw, session)
        finally:
            try:
                await self._pool.release(raw, timeout=ACQUIRE_TIMEOUT_S)
            except (*_LOST, asyncpg.InterfaceError):
                # the work is done or has failed by itself; asyncpg has thrown this connection away
                _log.warning("connection lost on return")

    async def _acquire(self, role: str, tenant: int | None) -> "tuple[_Proxy, _Session]":
        """A connection in that scope. One that died in the pool unnoticed is replaced once: no work is lost yet."""
        for last in (False, True):
            try:
                raw = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
            except _LOST as error:
                raise DatabaseUnavailable from error
            session: _Session = raw._con  # type: ignore[attr-defined]
            try:
                if _has_spoken(session):
                    raise ConnectionResetError
                await _scope(session, role, tenant)
            except BaseException as error:
                session.terminate()
                await self._pool.release(raw)
                if not isinstance(error, (*_LOST, asyncpg.InterfaceError)):
                    raise
                if last:
                    raise DatabaseUnavailable from error
            else:
                return raw, session
        raise AssertionError("unreachable")
