"""Measure a judge on labelled groups, and write its card as JSON and as an HTML page."""

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
from podium_service.evaluation.run_judge import GroupOutcome, rank_all
from podium_service.http.service import Service
from podium_service.judges.registry import JudgeRegistry
from podium_service.judges.settings.secrets import dump_without_secrets
from podium_service.prompts.transcript import transcribe
from podium_service.schemas import TrajectoryResult

# A card leaves out the settings that do not change a verdict.
_SETTINGS_LEFT_OUT = {
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
        service: the open service.
        judge: a name in the judges file.
        groups: labelled groups, at least one.
        data: the name of the file of groups, for the card.
        concurrency, deadline_s, advance: see `rank_all`.

    Raises:
        UnknownJudge: If there is no such judge.
        PodiumError: The first group's error, if no group could be ranked.
    """
    requests = [group.request for group in groups]
    outcomes = await rank_all(
        service, judge, requests, concurrency=concurrency, deadline_s=deadline_s, advance=advance
    )
    require_one_ranked(judge, outcomes)
    judged = [join_labels(group, outcome) for group, outcome in zip(groups, outcomes, strict=True)]
    return make_card(_make_heading(service.ranker.judges, judge, data), outcomes, judged)


def require_one_ranked(judge: str, outcomes: Sequence[GroupOutcome]) -> None:
    """Raise the first group's error if no group was ranked."""
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    if len(failures) == len(outcomes):
        first = failures[0]
        raise type(first)(
            f"judge {judge!r} ranked none of {len(outcomes)} groups: {first.detail}",
            fields=first.fields,
            retry_after_s=first.retry_after_s,
        ) from first


def join_labels(group: LabelledGroup, outcome: GroupOutcome) -> JudgedGroup | None:
    """Join the labels of a group with its rewards and verdicts; None if it was not ranked.

    Trajectories with the same text are one item, whose label is the mean of their labels.
    """
    if outcome.ranking is None:
        return None
    labels, results = group.labels, outcome.ranking.results
    gated = [i for i, result in enumerate(results) if _is_gated(result)]
    shown = [i for i, result in enumerate(results) if not _is_gated(result)]
    transcript = transcribe(group.request, shown)
    members = transcript.members  # for each body, the trajectories that have its text
    return JudgedGroup(
        labels=[
            *(sum(labels[i] for i in indices) / len(indices) for indices in members),
            *(labels[i] for i in gated),
        ],
        rewards=[
            *(results[indices[0]].reward for indices in members),
            *(_GATED_REWARD for _ in gated),
        ],
        num_characters=[len(body) for body in transcript.bodies],
        passes=_list_passes(outcome, len(transcript.bodies)),
    )


def write_card(card: Card, out: Path) -> tuple[Path, Path]:
    """Write `JUDGE.json` and `JUDGE.html` into the folder `out`, and return their paths.

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


def _list_passes(outcome: GroupOutcome, num_bodies: int) -> list[Pass]:
    """Return all verdicts as passes, without the planted body, which is no item of the group."""
    passes = []
    for key, verdicts in outcome.verdicts.items():
        for verdict in verdicts:
            pairs = [
                (item, score)
                for item, score in zip(verdict.order, verdict.scores, strict=True)
                if 0 <= item < num_bodies
            ]
            if pairs:
                passes.append(Pass([item for item, _ in pairs], [score for _, score in pairs], key))
    return passes


def _make_heading(judges: JudgeRegistry, judge: str, data: str) -> Heading:
    config = judges.roster.config.judges[judge]
    settings = dump_without_secrets(config, exclude=_SETTINGS_LEFT_OUT)
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
    return any(flag.startswith("gate:") for flag in result.flags)
