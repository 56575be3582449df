"""The script of the page about TRL runs as it is written."""

from pathlib import Path

from tests.docs.blocks import ROOT, blocks, run_blocks
from tests.integrations.trl.tiny import tiny_model, tiny_tokenizer


def test_the_script_of_the_page_trains(tmp_path: Path, checks_url: str) -> None:
    model = tmp_path / "model"
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(model)
    tiny_model(tokenizer).save_pretrained(model)
    folder = tmp_path / "run"
    folder.mkdir()
    page = ROOT / "docs/integrations/trl.md"
    said = run_blocks(
        [each for each in blocks(page) if each.language == "python"],
        folder,
        replaced={
            "HuggingFaceTB/SmolLM2-135M-Instruct": str(model),
            'output_dir="sums"': 'output_dir="sums", use_cpu=True, bf16=False',
        },
        environment={"PODIUM_URL": checks_url, "HF_HUB_OFFLINE": "1"},
        timeout_s=600,
    )
    assert said.count("podium/groups_ranked") == 3
    assert "scale_rewards" not in said  # nothing to warn about
