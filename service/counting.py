"""Requests by account, counted in this process."""

import asyncio


class ProcessLedger:
    """A `Ledger` for one process."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}  # account -> when it began, how many

    async def count(self, account: str, limit: int, window_s: float) -> float:
        """Count one request of an account.

        Returns:
            0 if it was counted; else the seconds until the window, which its first request opened,
            is over.
        """
        now = asyncio.get_running_loop().time()
        began, so_far = self._windows.get(account, (now, 0))
        if now - began >= window_s:
            began, so_far = now, 0
        if so_far >= limit:
            return began + window_s - now
        self._windows[account] = began, so_far + 1
        return 0.0
