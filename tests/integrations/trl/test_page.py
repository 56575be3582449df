"""The script of the page about TRL runs as it is written."""

from pathlib import Path

from tests.integrations.pages import run_script
from tests.integrations.trl.tiny import tiny_model, tiny_tokenizer


def test_the_script_of_the_page_trains(tmp_path: Path, checks_url: str) -> None:
    model, folder = tmp_path / "model", tmp_path / "run"
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(model)
    tiny_model(tokenizer).save_pretrained(model)
    folder.mkdir()
    replaced = {
        "HuggingFaceTB/SmolLM2-135M-Instruct": str(model),
        'output_dir="sums"': 'output_dir="sums", use_cpu=True, bf16=False',
    }
    lines = run_script(
        "trl.md", folder, replaced=replaced, PODIUM_URL=checks_url, HF_HUB_OFFLINE="1"
    )
    said = "\n".join(lines)
    assert said.count("podium/groups_ranked") == 3
    assert said.count(f"podium: the groups of this run: {checks_url}/ui") == 1
    assert "scale_rewards" not in said  # nothing to warn about
