"""The light client of a Podium service: groups in, rewards out. Needs httpx and pydantic."""

from podium.answers import GroupReward, Ranking, TrajectoryResult, Usage
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
from podium.groups import Trajectory, TrajectoryGroup

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
