"""The models of requests and responses, which define what the service accepts and returns."""

from podium_service.schemas.answer import (
    AssumedNoise,
    Basis,
    BatchLine,
    JurorResult,
    Problem,
    Ranking,
    TrajectoryResult,
    Usage,
)
from podium_service.schemas.bridge import (
    GatherSettings,
    JoinRequest,
    JudgeSettings,
    URLSettings,
)
from podium_service.schemas.images import Image
from podium_service.schemas.keys import KeyChange, KeyList, KeyRequest, KeyStatus, NewKey
from podium_service.schemas.listings import EndpointStatus, JudgeList, JudgeStatus
from podium_service.schemas.messages import FunctionCall, Message, ToolCall
from podium_service.schemas.parts import Part
from podium_service.schemas.request import (
    DEFAULT_DEADLINE_S,
    MAX_BATCH_BODY_BYTES,
    MAX_BATCH_GROUPS,
    MAX_BODY_BYTES,
    MAX_DEADLINE_S,
    MAX_ID_CHARS,
    MAX_TRAJECTORIES,
    BatchRequest,
    RankRequest,
    Tool,
    Trajectory,
)
from podium_service.schemas.spend import SpendQuery, SpendReport

__all__ = [
    "DEFAULT_DEADLINE_S",
    "MAX_BATCH_BODY_BYTES",
    "MAX_BATCH_GROUPS",
    "MAX_BODY_BYTES",
    "MAX_DEADLINE_S",
    "MAX_ID_CHARS",
    "MAX_TRAJECTORIES",
    "AssumedNoise",
    "Basis",
    "BatchLine",
    "BatchRequest",
    "EndpointStatus",
    "FunctionCall",
    "GatherSettings",
    "Image",
    "JoinRequest",
    "JudgeList",
    "JudgeSettings",
    "JudgeStatus",
    "JurorResult",
    "KeyChange",
    "KeyList",
    "KeyRequest",
    "KeyStatus",
    "Message",
    "NewKey",
    "Part",
    "Problem",
    "RankRequest",
    "Ranking",
    "SpendQuery",
    "SpendReport",
    "Tool",
    "ToolCall",
    "Trajectory",
    "TrajectoryResult",
    "URLSettings",
    "Usage",
]
