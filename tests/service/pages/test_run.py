"""The pages of runs, from models alone."""

import pytest

from podium_service.pages.figures import Series, lines, sparkline, whisker
from podium_service.pages.frame import Frame
from podium_service.pages.numbers import count, fixed, money, percent, seconds, signed
from podium_service.pages.runs.prompt import render_prompt
from podium_service.pages.runs.run import count_failures, plot_lengths, render_run, summarize
from podium_service.schemas.history import RunPrompt
from tests.service.helpers import chat
from tests.service.pages.samples import detail_of, run_of, summaries

FRAME = Frame(base_url="http://localhost:8000")


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (fixed(0.866), ".87"), (fixed(1.0), "1.00"), (fixed(-0.204), "-.20"),
        (fixed(-0.001), ".00"),
        (fixed(None), "–"), (signed(0.12), "+.12"), (signed(-0.03), "−.03"), (signed(0.0), ".00"),
        (money(0.0021), "$0.0021"), (money(12.5), "$12.50"), (money(0.0), "$0.00"),
        (money(0.000012), "$0.000012"), (seconds(0.34), "340 ms"), (seconds(2.11), "2.1 s"),
        (seconds(200), "3 min 20 s"), (count(12400), "12,400"), (count(1_234_567), "1.2 M"),
        (percent(0.874), "87%"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_tell_the_same(shown: str, text: str) -> None:
    assert shown == text


def test_the_headlines_are_of_the_whole_run() -> None:
    found = {each.label: each for each in summarize(run_of("a", 20))}
    assert found["Groups"].value == "320"
    assert found["Failed"].value == "2"
    assert found["Cost so far"].value == "$0.62"
    assert found["Cost so far"].note == "$0.031 a step, $3.10 per 100"
    # Scores are .35 + .004 step + wave: .31 at first, .422 over the last five.
    assert found["Score"].value == ".418"
    assert found["Score"].note == "+.11 since the start"


def test_the_win_rate_is_the_headline_of_a_run_that_has_one() -> None:
    run = run_of("a", 20)
    assert summarize(run)[0].label == "Score"
    rates = {10: (0.5, None), 15: (0.62, 0.04)}
    for step in run.steps:
        step.win_rate, step.win_rate_stderr = rates.get(step.step or 0, (None, None))
    first = summarize(run)[0]
    assert (first.label, first.value) == ("Win rate", ".620")
    assert first.note == "± .040 against the start, at step 15"
    html = render_run(FRAME, run)
    assert html.count('class="error c0"') == 1
    assert '.620 <span class="dim">± .040</span>' in html


def test_the_cost_is_projected_to_the_planned_steps() -> None:
    run = run_of("a", 20)
    run.summary.planned_steps = 100
    found = {each.label: each for each in summarize(run)}
    assert found["Cost so far"].note == "of about $3.10 in 100 steps"


def test_failures_are_drawn_by_code_and_step() -> None:
    run = run_of("a", 20)
    run.steps[3].failures = {"deadline_exceeded": 5}
    html = render_run(FRAME, run)
    assert "deadline_exceeded, step 3: 5" in html
    assert "judge_unavailable, step 4: 1" in html
    assert 'href="/ui?run=a&amp;step=3&amp;code=deadline_exceeded"' in html


def test_a_prompt_shows_its_best_and_worst_attempts() -> None:
    group = {"trajectories": [{"id": f"t{i}", "messages": chat(f"It is {i}.")} for i in range(3)]}
    details = [detail_of(group, step=step, ask=f"ask_{step}", mean_score=0.1 * step)
               for step in (2, 1)]  # fmt: skip
    html = render_prompt(FRAME, "a", "p1", [each.summary for each in details], details)
    assert html.count("It is 0.") == html.count("It is 2.") == 2  # the best and the worst of each
    assert "It is 1." not in html
    assert html.index("step 1: .100") < html.index("step 2: .200")
    assert "Verified</h2>" not in html  # no group tells it
    bare = details[0].model_copy(update={"request": None})
    assert "not kept" in render_prompt(FRAME, "a", "p1", [bare.summary], [bare])


def test_prompts_that_came_once_are_not_listed() -> None:
    prompts = [RunPrompt(prompt_id=f"p{n}", prompt="<b>", groups=n, first_step=1, last_step=n)
               for n in (3, 1)]  # fmt: skip
    html = render_run(FRAME, run_of("a", 5), prompts=prompts)
    assert 'href="/ui/prompt?run=a&amp;id=p3"' in html
    assert "id=p1" not in html
    assert "&lt;b&gt;" in html


def test_failures_are_counted_by_code() -> None:
    assert count_failures(run_of("a", 20)) == [("judge_unavailable", 2)]


def test_two_runs_are_drawn_over_each_other() -> None:
    html = render_run(FRAME, run_of("a", 20), other=run_of("b", 10), others=["a", "b"])
    assert html.count('class="line c1"') >= 8
    assert "<option selected>b</option>" in html
    assert 'href="/ui?run=a&amp;step=3"' in html


def test_rewards_are_plotted_against_lengths() -> None:
    assert plot_lengths(FRAME, []) is None
    plot = plot_lengths(FRAME, summaries(4))
    assert plot
    assert plot.count("<circle") == 4 * 6


def test_figures_have_no_style_and_say_what_they_show() -> None:
    figures = [whisker(0.5, 0.1), sparkline([0.2, 0.9]), lines("x", [])]
    assert 'aria-label="score .50 ± .10"' in figures[0]
    assert 'aria-label="rewards .90, .20"' in figures[1]
    assert "no data" in figures[2]
    assert not any("style=" in str(each) for each in figures)


def test_a_long_line_has_few_dots_and_one_at_its_end() -> None:
    long = Series("a", [(float(x), 0.5) for x in range(250)], lambda index: f"/{index}")
    figure = lines("x", [long])
    assert figure.count("<circle") <= 40
    assert 'href="/249"' in figure
    assert str(figure).count(",") == 250  # the line goes through all points
    rare = Series("a", [(float(x), 0.5 if x % 50 == 3 else None) for x in range(250)])
    assert lines("x", [rare]).count("<circle") == 5
    html = render_run(FRAME, run_of("a", 250))
    assert "The last 100 of 250 steps" in html
    assert len(html) < 300_000
