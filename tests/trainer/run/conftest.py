"""Fixtures of whole runs: a real service that ranks."""

from collections.abc import Iterator

import pytest

from tests.service.process import running
from tests.trainer.runs import write_judges


@pytest.fixture(scope="module")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a service of the module's own."""
    folder = tmp_path_factory.mktemp("service")
    with running("--config", str(write_judges(folder)), cwd=folder) as podium:
        assert podium.url
        yield podium.url
