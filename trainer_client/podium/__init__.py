"""The light client of a Podium service: groups in, rewards out. Needs httpx and pydantic."""

from podium.blocking_client import RankClient
from podium.client import AsyncRankClient
from podium.errors import (
    DeadlineExceeded,
    JudgeFailed,
    ProtocolError,
    RankError,
    RequestRefused,
    ServiceUnavailable,
    Unauthorized,
)
from podium.types import GroupReward, Ranking, Trajectory, TrajectoryGroup, TrajectoryResult, Usage

__all__ = [
    "AsyncRankClient",
    "DeadlineExceeded",
    "GroupReward",
    "JudgeFailed",
    "ProtocolError",
    "RankClient",
    "RankError",
    "Ranking",
    "RequestRefused",
    "ServiceUnavailable",
    "Trajectory",
    "TrajectoryGroup",
    "TrajectoryResult",
    "Unauthorized",
    "Usage",
]
