"""The settings of a judge in the judges file, one class for each kind of judge."""

from podium_service.judges.settings.checks import ChecksJudge
from podium_service.judges.settings.jury import JuryJudge
from podium_service.judges.settings.llm import LLMJudge

__all__ = ["ChecksJudge", "JuryJudge", "LLMJudge"]
