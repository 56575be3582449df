"""The generated parts of the documentation say what the code says."""

import re

import numpy as np
import pytest
from scipy.stats import f, norm

from docs.generate.__main__ import PARTS, pages
from docs.generate.modules import PACKAGES, summary
from docs.generate.rewards import PASSES, example
from docs.generate.settings import GROUPS, group_of
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge
from podium_service.scoring.rewards import win_probability
from podium_service.scoring.signal_ratio import PRIOR_R, RATIOS_R


def test_every_generated_part_is_up_to_date() -> None:
    stale = [str(p) for p, text in pages().items() if p.read_text(encoding="utf-8") != text]
    assert not stale, "run `make docs`"


def test_every_part_is_on_a_page() -> None:
    marked = "".join(pages().values())
    assert set(re.findall(r"<!-- generated: ([\w ]+) -->", marked)) == PARTS.keys()


@pytest.mark.parametrize("judge", [LLMJudge, ChecksJudge, JuryJudge])
def test_every_setting_has_a_description_and_a_group(
    judge: type[LLMJudge] | type[ChecksJudge] | type[JuryJudge],
) -> None:
    for name, field in judge.model_fields.items():
        assert field.description, name
        assert group_of(field) in GROUPS, name


def test_every_module_has_a_line_in_the_map() -> None:
    files = [p for folder in PACKAGES.values() for p in folder.rglob("*.py")]
    silent = [str(p) for p in files if p.name != "__init__.py" and not summary(p)]
    assert not silent


def test_the_worked_example_agrees_with_a_second_computation() -> None:
    """Ordinary least squares over attempts, passes and a straight line of slots."""
    size, rows, values = 4, [], []
    for index, (order, scores) in enumerate(PASSES):
        for slot, (item, score) in enumerate(zip(order, scores, strict=True)):
            row = np.zeros(2 * size + 1)
            row[item], row[size + index], row[-1] = 1, 1, slot
            rows.append(row)
            values.append(score)
    design, observed = np.array(rows), np.array(values)
    fitted, _, rank, _ = np.linalg.lstsq(design, observed, rcond=None)
    means = fitted[:size] - fitted[:size].mean() + observed.mean()
    error = ((observed - design @ fitted) ** 2).sum() / (len(values) - rank)
    items = len(PASSES) * ((means - means.mean()) ** 2).sum() / (size - 1)
    stderr, df = np.sqrt(error / len(PASSES)), len(values) - rank
    spread_R = 1 + len(PASSES) * RATIOS_R
    weights_R = PRIOR_R * f.pdf(items / error / spread_R, size - 1, df) / spread_R
    weights_R /= weights_R.sum()
    reliability_R = 1 - 1 / spread_R
    z = (means[:, None] - means[None, :]) / (stderr * np.sqrt(2))
    wins = (weights_R[:, None, None] * norm.cdf(np.sqrt(reliability_R)[:, None, None] * z)).sum(0)
    rewards = (wins.sum(axis=1) - 0.5) / (size - 1)

    found = example()
    assert found.means == pytest.approx(means)
    assert found.stderr == pytest.approx([stderr] * size)
    assert found.reliability == pytest.approx(weights_R @ reliability_R)
    assert win_probability(found) == pytest.approx(rewards)
