"""Made-up groups of tool-using agents, of any size."""

import random
from collections.abc import Iterator

import orjson

from benchmarks.groups.wire import Group, Message, make_call, make_group, make_turn

AIRPORTS = ("JFK", "SEA", "ATL", "ORD", "DFW", "LAX", "SFO", "BOS", "DEN", "MIA", "PHX", "CLT")
STATUSES = ("available", "delayed", "cancelled", "landed", "on time", "boarding")
TOOLS = ("search_direct_flight", "search_onestop_flight", "get_reservation_details", "list_fares")
THOUGHTS = (
    "The traveller asked for {} or later, so I look at what leaves {} after that.",
    "That left out the refundable fares; I ask again for {} and compare with {}.",
    "Two results conflict with the policy on {}; before I offer {} I check the details.",
    "I have what I need for {}; one more look at {} tells me whether the price still holds.",
)
CLOSINGS = (
    "I recommend {}: it keeps your dates, costs ${}.40 in total and leaves one checked bag free.",
    "The best match is {} for ${}.15; the earlier departure would break the rule you gave me.",
    "I could not confirm {} under your budget of ${}.00, so I left the reservation as it was.",
    "Done: {} is booked for ${}.85, the certificate is used first and the card pays the rest.",
)


def synthetic_groups(
    num: int,
    *,
    trajectories: int = 8,
    messages: int = 10,
    group_bytes: int = 95_000,
    seed: int = 0,
) -> Iterator[Group]:
    """Make up groups of tool-using agents that differ from each other from the first turn on.

    Args:
        num: How many groups.
        trajectories: Trajectories a group; they share the first user message and nothing else.
        messages: Messages a trajectory, at least 4: user, tool calls with their results, a final
            answer, and a thank-you from the user if the number is odd.
        group_bytes: Size of one group as compact JSON, met to within one tool record (0.3 kB).
        seed: Same seed and index, same group.

    Raises:
        ValueError: If messages is below 4 or group_bytes is too small for that many messages.
    """
    if messages < 4:
        raise ValueError(f"messages must be 4 or more, is {messages}")
    for index in range(num):
        rng = random.Random(f"{seed}/{index}")
        task = _synthetic_task(rng)
        members = [
            {
                "id": f"rollout-{n}",
                "messages": _skeleton(rng, task, messages),
                "finish_reason": "stop",
            }
            for n in range(trajectories)
        ]
        group = make_group(f"synthetic-{seed}/{index}", None, members)
        _fill(rng, group, group_bytes)
        yield group


def _synthetic_task(rng: random.Random) -> str:
    origin, destination = rng.sample(AIRPORTS, 2)
    return (
        f"Booking {rng.getrandbits(32):08X}: move my trip from {origin} to {destination} to May "
        f"{rng.randint(1, 31)}, not before {rng.randint(6, 18)}:00, for at most "
        f"${rng.randint(90, 900)} more, and tell me what happens to my bags and my certificate."
    )


def _skeleton(rng: random.Random, task: str, messages: int) -> list[Message]:
    """Return a trajectory whose tool results are still empty."""
    turns: list[Message] = [{"role": "user", "content": task}]
    for step in range((messages - 2) // 2):
        origin, destination = rng.sample(AIRPORTS, 2)
        call = make_call(
            f"call_{rng.getrandbits(96):024x}",
            rng.choice(TOOLS),
            origin=origin,
            destination=destination,
            date=f"2024-05-{rng.randint(1, 31):02d}",
            session=f"{rng.getrandbits(40):010x}",
        )
        thought = rng.choice(THOUGHTS).format(_flight(rng), _flight(rng))
        # Every second turn is a bare tool call, as agents' often are.
        turns += make_turn(thought if step % 2 == 0 else None, call, "")
    final = " ".join(
        closing.format(_flight(rng), rng.randint(60, 900))
        for closing in rng.sample(CLOSINGS, len(CLOSINGS))
    )
    turns.append({"role": "assistant", "content": final})
    if messages % 2:
        turns.append({"role": "user", "content": f"Thank you, {_flight(rng)} it is."})
    return turns


def _flight(rng: random.Random) -> str:
    return f"flight HAT{rng.randint(100, 999)} on May {rng.randint(1, 31)}"


def _record(rng: random.Random) -> str:
    bits = rng.getrandbits(60)
    return (
        f'{{"flight_number": "HAT{bits % 1000:03d}", "origin": "{rng.choice(AIRPORTS)}", '
        f'"destination": "{rng.choice(AIRPORTS)}", "status": "{rng.choice(STATUSES)}", '
        f'"scheduled_departure_time_est": "{bits % 24:02d}:{bits // 24 % 60:02d}:00", '
        f'"available_seats": {{"economy": {bits // 1440 % 30}, "business": {bits // 50000 % 12}}}, '
        f'"price_usd": {60 + (bits >> 20) % 900}, "fare_key": "{bits:015x}"}}'
    )


def _fill(rng: random.Random, group: Group, group_bytes: int) -> None:
    """Give the group's tool results records until its JSON has the wanted size."""
    results = [m for t in group["trajectories"] for m in t["messages"] if m["role"] == "tool"]
    frame = '{"results": []}'
    room = group_bytes - len(orjson.dumps(group)) - len(results) * _escaped_size(frame)
    if room < 0:
        raise ValueError(f"group_bytes {group_bytes} is too small: needs {group_bytes - room}")
    used = 0
    for number, message in enumerate(results, start=1):
        records: list[str] = []
        while used < room * number // len(results):
            records.append(_record(rng))
            used += _escaped_size(records[-1]) + (2 if len(records) > 1 else 0)
        message["content"] = f'{{"results": [{", ".join(records)}]}}'


def _escaped_size(text: str) -> int:
    """Return bytes of plain ASCII text inside a JSON string, without the string's own quotes."""
    return len(text) + text.count('"')
