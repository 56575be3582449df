"""The prices task: its tool, its held-out items and the answers it accepts."""

from podium_trainer.tasks import open_task


def test_prices_has_a_tool_and_accepts_the_bare_number() -> None:
    task = open_task("prices", {"held_out": 5})
    assert len(task.held_out) == 5
    assert not {p.id for p in task.train} & {p.id for p in task.held_out}
    [tool] = task.tools
    assert tool.function is not None
    assert task.max_turns > 1
    for prompt in (*task.train, *task.held_out):
        price = str(tool.function(item=prompt.id))
        assert prompt.reference == price
        for role, text, score in [
            ("assistant", price, 1),
            ("assistant", price + "0", 0),
            ("tool", price, 0),
        ]:
            assert task.score(prompt, [{"role": role, "content": text}]) == score
