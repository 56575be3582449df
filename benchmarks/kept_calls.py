"""A ranking -> the judge calls behind it, out of the service's store."""

from collections.abc import Sequence
from typing import Any

from benchmarks.readings import Answer
from podium_service.evaluation.run_judge import GroupOutcome
from podium_service.http.service import Service
from podium_service.prompts.forms import FORMS
from podium_service.prompts.reply import Reply, Tokens
from podium_service.prompts.templates import Prompt
from podium_service.prompts.verdict import Fault, Verdict
from podium_service.ranking.methods import METHODS


async def answered(service: Service, outcome: GroupOutcome) -> list[Answer]:
    """The answers behind a ranking, out of the store; none for a group that was not ranked."""
    if outcome.ranking is None:
        return []
    kept = await service.store.read_ranking(outcome.ranking.id)
    if kept is None:
        raise RuntimeError(f"the store has lost {outcome.ranking.id}")
    records: dict[int, list[dict[str, Any]]] = {}
    for record in await service.store.read_calls(kept["key"]):
        records.setdefault(record["pass_index"], []).append(record)
    form = METHODS[outcome.ranking.method].form
    return [answer(form, index, records[index]) for index in sorted(records)]


def answer(form: str, index: int, records: Sequence[dict[str, Any]]) -> Answer:
    """All calls that one question took."""
    verdict = Verdict(**next(each["verdict"] for each in records if each["verdict"]))
    usage = [each["usage"] for each in records]
    return Answer(
        index=index,
        verdict=verdict,
        calls=len(records),
        tokens=sum(each["prompt_tokens"] + each["completion_tokens"] for each in usage),
        said=says(form, records[0]["reply"], verdict),
    )


def says(form: str, text: str, verdict: Verdict) -> bool:
    """Whether a reply's text alone, without probabilities, is a verdict."""
    prompt = Prompt(form, [], verdict.ids, verdict.order)
    try:
        FORMS[form].read(Reply(text, "stop", None, Tokens(), ""), prompt)
    except Fault:
        return False
    return True
