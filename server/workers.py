"""The packet-plane workers of a process, open while it runs.

Those that forward media have a UDP port each, one after the other. Those of a relay by itself share one port, and the
kernel spreads clients over them.
"""

import contextlib
from collections.abc import Iterator

from backplane.addresses import MediaAddresses
from backplane.settings import Settings
from backplane.startup import StartError, why
from rtc._worker import Worker


@contextlib.contextmanager
def media_workers(settings: Settings, addresses: MediaAddresses) -> Iterator[list[Worker]]:
    """
    Raises:
        StartError: a port cannot be had.
    """
    with contextlib.ExitStack() as stack:
        workers = []
        for index in range(settings.workers):
            port = settings.first_media_port + index if settings.first_media_port else 0
            try:
                worker = Worker(address=addresses.bind, port=port, index=index)
            except OSError as error:
                what = f"UDP port {port} for media on {addresses.bind}"
                raise StartError(why(error, what, "--media-port (0 = any free one)")) from None
            stack.callback(worker.close)
            workers.append(worker)
        yield workers


@contextlib.contextmanager
def relay_workers(settings: Settings, addresses: MediaAddresses) -> Iterator[list[Worker]]:
    """
    Raises:
        StartError: the port cannot be had.
    """
    with contextlib.ExitStack() as stack:
        port = settings.first_media_port
        workers: list[Worker] = []
        for index in range(settings.workers):
            try:
                worker = Worker(address=addresses.bind, port=port, index=index, shared_port=settings.workers > 1)
            except OSError as error:
                what = f"UDP port {port} on {addresses.bind}"
                raise StartError(why(error, what, "--port (0 = any free one)")) from None
            stack.callback(worker.close)
            workers.append(worker)
            port = worker.port
        yield workers
