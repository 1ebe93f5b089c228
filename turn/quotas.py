"""How many allocations each owner and each client address has. The servers of one process share it, or a quota would
grow with the number of workers.

Addresses are counted as a provider hands them out: IPv4 addresses one by one, IPv6 by networks of 64 bits.
"""

from backplane.ratelimit import address_key


def _address(host: str) -> str:
    return address_key(host) if ":" in host else host


class Quotas:
    """Counts; the bounds are settings of each server. What has none is not remembered."""

    def __init__(self) -> None:
        self._of_owner: dict[str, int] = {}
        self._of_address: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._of_owner) + len(self._of_address)

    def of_owner(self, owner: str) -> int:
        return self._of_owner.get(owner, 0)

    def of_address(self, host: str) -> int:
        return self._of_address.get(_address(host), 0)

    def add(self, owner: str, host: str) -> None:
        self._of_owner[owner] = self._of_owner.get(owner, 0) + 1
        self._arrive(_address(host))

    def move(self, before: str, after: str) -> None:
        """The owner of one allocation has gone from one address to another."""
        _count_down(self._of_address, _address(before))
        self._arrive(_address(after))

    def remove(self, owner: str, host: str) -> None:
        _count_down(self._of_owner, owner)
        _count_down(self._of_address, _address(host))

    def _arrive(self, key: str) -> None:
        self._of_address[key] = self._of_address.get(key, 0) + 1


def _count_down(counts: dict[str, int], key: str) -> None:
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1
