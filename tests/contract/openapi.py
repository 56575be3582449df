"""Print the OpenAPI document of the app: `make openapi` commits it as the published wire."""

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from podium_service.http.app import create_app
from tests.service.helpers import service

PUBLISHED = Path(__file__).parent / "openapi.json"


async def document() -> str:
    """Return the document in the form that is committed."""
    with TemporaryDirectory() as folder:
        async with service(Path(folder)) as opened:
            return json.dumps(create_app(opened).openapi(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(asyncio.run(document()), end="")
