"""Podium's client side. What is imported here is the light client: httpx and pydantic, no torch."""

from trainer_client.errors import (
    DeadlineExceeded,
    JudgeFailed,
    ProtocolError,
    RankError,
    RequestRefused,
    ServiceUnavailable,
    Unauthorized,
)
from trainer_client.reward_client import AsyncRankClient, RankClient
from trainer_client.types import (
    GroupReward,
    Ranking,
    Trajectory,
    TrajectoryGroup,
    TrajectoryResult,
    Usage,
)

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
