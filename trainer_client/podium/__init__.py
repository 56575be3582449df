"""The light client of a Podium service: groups in, rewards out. Needs httpx and pydantic."""

from podium.blocking_client import RankClient
from podium.client import AsyncRankClient
from podium.errors import (
    DeadlineExceeded,
    JudgeFailed,
    NothingRanked,
    ProtocolError,
    RankError,
    RequestRefused,
    ServiceAbsent,
    ServiceUnavailable,
    Unauthorized,
)
from podium.types import GroupReward, Ranking, Trajectory, TrajectoryGroup, TrajectoryResult, Usage

__all__ = [
    "AsyncRankClient",
    "DeadlineExceeded",
    "GroupReward",
    "JudgeFailed",
    "NothingRanked",
    "ProtocolError",
    "RankClient",
    "RankError",
    "Ranking",
    "RequestRefused",
    "ServiceAbsent",
    "ServiceUnavailable",
    "Trajectory",
    "TrajectoryGroup",
    "TrajectoryResult",
    "Unauthorized",
    "Usage",
]
