"""What several files of the media core's tests share."""

from collections.abc import Iterator

import pytest

from rtc._worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(threaded=False)
    yield worker
    worker.close()
