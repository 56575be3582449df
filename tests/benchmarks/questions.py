"""Chat requests in the forms that benchmarks' judges answer."""

from collections.abc import Mapping
from typing import Any


def fenced(bodies: Mapping[str, str], code: str = "-0a1b2c3d") -> str:
    """Show trajectories by id, in the service's fences; `code=""` leaves the code out."""
    return "\n".join(
        f'\n<trajectory{code} id="{shown}">\n{body}\n</trajectory{code}>'
        for shown, body in bodies.items()
    )


def scores_of(bodies: Mapping[str, str], code: str = "-0a1b2c3d") -> dict[str, Any]:
    ids = ", ".join(bodies)
    return _asked(f"{fenced(bodies, code)}\n\nScore all {len(bodies)} trajectories: {ids}.")


def choice_between(bodies: Mapping[str, str]) -> dict[str, Any]:
    one, other = bodies
    last = f"Which answer is better, {one} or {other}? Reply with one letter."
    return _asked(f"{fenced(bodies)}\n\n{last}", logprobs=True, top_logprobs=20)


def rating_of(body: str) -> dict[str, Any]:
    last = "How good is this, from 0 (worst) to 9 (best)? Reply with one digit."
    return _asked(f"{fenced({'QX7KM': body})}\n\n{last}", logprobs=True, top_logprobs=20)


def best_among(bodies: Mapping[str, str]) -> dict[str, Any]:
    *others, last_id = bodies
    last = f"Which answer is best, {', '.join(others)} or {last_id}? Reply with one letter."
    return _asked(f"{fenced(bodies)}\n\n{last}", logprobs=True, top_logprobs=20)


def yes_or_no(body: str) -> dict[str, Any]:
    last = "Is this right? Reply yes or no."
    return _asked(f"{fenced({'QX7KM': body})}\n\n{last}", logprobs=True, top_logprobs=20)


def _asked(text: str, **settings: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "You judge."}, {"role": "user", "content": text}]
    return {"model": "sim", "messages": messages, **settings}


def words(completion: Mapping[str, Any]) -> str:
    return str(completion["choices"][0]["message"]["content"])
