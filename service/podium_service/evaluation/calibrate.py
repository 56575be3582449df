"""Labelled groups + a judge -> its card, and the card's two files."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson

from podium_service import __version__
from podium_service.errors import ConfigError
from podium_service.evaluation.card import Card, Heading, make_card
from podium_service.evaluation.labelled_groups import LabelledGroup
from podium_service.evaluation.measures import JudgedGroup, Pass
from podium_service.evaluation.page import render
from podium_service.evaluation.run_judge import Asked, ask_all
from podium_service.http.service import Service
from podium_service.judges.registry import JudgeRegistry
from podium_service.judges.settings.secrets import dump_without_secrets
from podium_service.prompts.transcript import transcribe
from podium_service.schemas import Ranking, RankRequest, TrajectoryResult

# Where a judge is and what it costs do not bear on its verdicts; whom it fails to is not asked.
_NOT_SHOWN = {
    "base_urls", "api_key_env", "fallback", "attempts", "concurrency",
    "timeout_s", "price",
}  # fmt: skip
_GATED_REWARD = -1.0


async def calibrate(
    service: Service,
    judge: str,
    groups: Sequence[LabelledGroup],
    *,
    data: str,
    concurrency: int,
    deadline_s: float,
    advance: Callable[[], None],
) -> Card:
    """Rank all groups with the judge as it is configured, and measure it.

    Args:
        judge: its name in the judges file.
        groups: labelled groups, at least one.
        data: what the card calls them.
        concurrency, deadline_s, advance: as `ask_all` takes them.

    Raises:
        UnknownJudge: If there is no such judge.
        PodiumError: The first group's error, if no group could be ranked.
    """
    requests = [group.request for group in groups]
    asked = await ask_all(
        service, judge, requests, concurrency=concurrency, deadline_s=deadline_s, advance=advance
    )
    require_one_ranked(judge, asked)
    measured = [judged(group, one) for group, one in zip(groups, asked, strict=True)]
    return make_card(_heading(service.ranker.judges, judge, data), asked, measured)


def require_one_ranked(judge: str, asked: Sequence[Asked]) -> None:
    """Raises the first group's error if no group was ranked."""
    failed = [each.failure for each in asked if each.failure]
    if len(failed) == len(asked):
        first = failed[0]
        raise type(first)(
            f"judge {judge!r} ranked none of {len(asked)} groups: {first.detail}",
            fields=first.fields,
            retry_after_s=first.retry_after_s,
        ) from first


def judged(group: LabelledGroup, asked: Asked) -> JudgedGroup | None:
    """Labels, rewards and verdicts side by side; None if the group was not ranked.

    Trajectories with the same text are one item, its label their mean.
    """
    ranking, labels = asked.ranking, group.labels
    if ranking is None:
        return None
    gated = [i for i, result in enumerate(ranking.results) if _is_gated(result)]
    members, bodies = shown_bodies(group.request, ranking)
    return JudgedGroup(
        labels=[
            *(sum(labels[i] for i in some) / len(some) for some in members),
            *(labels[i] for i in gated),
        ],
        rewards=[
            *(ranking.results[some[0]].reward for some in members),
            *(_GATED_REWARD for _ in gated),
        ],
        num_characters=[len(body) for body in bodies],
        passes=_passes(asked, len(bodies)),
    )


def shown_bodies(request: RankRequest, ranking: Ranking) -> tuple[list[list[int]], list[str]]:
    """The bodies that the judge was shown, in the order in which verdicts count them: the indices
    of the trajectories each stands for, and its text."""
    shown = [i for i, result in enumerate(ranking.results) if not _is_gated(result)]
    transcript = transcribe(request, shown)
    return transcript.members, transcript.bodies


def write_card(card: Card, out: Path) -> tuple[Path, Path]:
    """Write `J.json` and `J.html` into the folder `out`, and say where they are.

    Raises:
        ConfigError: If they cannot be written.
    """
    name = re.sub(r"[^\w.-]+", "_", card.judge).lstrip(".") or "judge"
    data, page = out / f"{name}.json", out / f"{name}.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        data.write_bytes(orjson.dumps(card, option=orjson.OPT_INDENT_2) + b"\n")
        page.write_text(render(card), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from error
    return data, page


def _passes(asked: Asked, num_bodies: int) -> list[Pass]:
    """All verdicts; what was shown beside the group's bodies (a planted one) is left out."""
    passes = []
    for key, verdicts in asked.verdicts.items():
        for verdict in verdicts:
            pairs = zip(verdict.order, verdict.scores, strict=True)
            ours = [(item, score) for item, score in pairs if 0 <= item < num_bodies]
            items, scores = [item for item, _ in ours], [score for _, score in ours]
            if ours:
                passes.append(Pass(items, scores, key))
    return passes


def _heading(judges: JudgeRegistry, judge: str, data: str) -> Heading:
    config = judges.roster.config.judges[judge]
    settings = dump_without_secrets(config, exclude=_NOT_SHOWN)
    kind = settings.pop("kind")
    return Heading(
        judge=judge,
        model=settings.pop("model", None),
        method=settings.pop("method", kind),
        settings={name: value for name, value in settings.items() if value not in ([], {})},
        data=data,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
    )


def _is_gated(result: TrajectoryResult) -> bool:
    return any(flag.startswith("gate:") or flag == "gate" for flag in result.flags)
