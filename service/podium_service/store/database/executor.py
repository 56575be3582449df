"""Run the database's synchronous work in threads; its failures become StoreUnavailable."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

import sqlalchemy as sa

from podium_service.errors import StoreUnavailable
from podium_service.store.database.engine import one_line

T = TypeVar("T")


class ThreadExecutor:
    """Runs work in the threads it is given."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, which runs in a thread.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(
                f"the store does not answer ({one_line(error)}): check its disk and its server"
            ) from error
