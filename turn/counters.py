"""What a relay counts of its transactions; the packet plane counts packets. Labels are bounded: codes, never names."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class TurnCounters:
    requests: int = 0
    malformed: int = 0  # no request, or one of a method that we do not serve; not answered
    retransmitted: int = 0  # requests answered from memory
    auth_failures: int = 0  # unknown, expired or revoked users, wrong passwords
    allocated: int = 0
    refreshed: int = 0
    moved: int = 0  # RFC 8016
    removed: int = 0  # by their clients, by revocation or with their stream
    expired: int = 0
    permissions: int = 0  # installed or renewed
    channels: int = 0
    relay_ports_opened: int = 0
    refused: dict[int, int] = field(default_factory=dict)  # by error code

    def refuse(self, code: int) -> None:
        self.refused[code] = self.refused.get(code, 0) + 1
