"""What a simulated device was told, for tests to read: the last of it, however long the night."""

from __future__ import annotations

_MOST = 10_000


class Heard(list[str]):
    """Commands, oldest first; beyond ten thousand the older half is forgotten."""

    def append(self, command: str) -> None:
        """Add a command."""
        if len(self) >= _MOST:
            del self[: _MOST // 2]
        super().append(command)
