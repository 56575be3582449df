"""The commands and GPUs of the servers that a run starts, and the settings that are refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from podium_trainer.config import SamplerConfig, TrainConfig
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.launch.plan import (
    deal_gpus,
    leave_to_ranks,
    lora_rank,
    plan_for_ray,
    plan_servers,
    serve_command,
)


def config(*, model: dict[str, Any] | None = None, **sampler: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "model": {"path": "some/model", "device": "cpu"} | (model or {}),
            "task": {"name": "addition"},
            "out": "runs/x",
            "sampler": {"kind": "vllm", "launch": True} | sampler,
        }
    )


def test_a_command_serves_the_policy_as_the_trainer_needs_it() -> None:
    [plan] = plan_servers(config())
    assert plan.command_at("127.0.0.1", 8123) == [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model=some/model", "--served-model-name=policy",
        "--enable-scale-out", "--logprobs-mode=processed_logprobs",
        "--host=127.0.0.1", "--port=8123",
    ]  # fmt: skip


def test_adapters_many_gpus_and_sleep_are_options() -> None:
    command = serve_command(
        config(
            model={"lora": {"rank": 24}}, colocate=True,
            vllm={"gpus": 2, "python": "/opt/vllm/bin/python"},
        )
    )  # fmt: skip
    assert command[0] == "/opt/vllm/bin/python"
    assert command[-5:] == [
        "--enable-lora", "--max-lora-rank=32", "--tensor-parallel-size=2", "--enable-sleep-mode",
        "--gpu-memory-utilization=0.4",
    ]  # fmt: skip


def test_steps_ahead_need_room_for_two_adapters() -> None:
    lora = {"lora": {"rank": 8}}
    assert "--max-loras=2" in serve_command(config(model=lora))
    own = serve_command(config(model=lora, vllm={"options": {"max_loras": 4}}))
    assert [flag for flag in own if "max-loras" in flag] == ["--max-loras=4"]


def test_a_stream_of_weights_is_an_option() -> None:
    command = serve_command(config(weight_sync="stream"))
    assert command[-1] == '--weight-transfer-config={"backend": "podium"}'


def test_own_options_come_instead_of_the_usual_ones() -> None:
    options = {
        "max_model_len": 4096, "gpu-memory-utilization": 0.6, "enforce-eager": True,
        "enable-scale-out": False, "seed": None, "compilation-config": {"level": 0},
    }  # fmt: skip
    command = serve_command(config(colocate=True, vllm={"options": options}))
    assert "--enable-scale-out" not in command
    assert [flag for flag in command if "memory" in flag] == ["--gpu-memory-utilization=0.6"]
    assert command[-3:] == [
        "--max-model-len=4096", "--enforce-eager", '--compilation-config={"level": 0}'
    ]  # fmt: skip


@pytest.mark.parametrize(("rank", "room"), [(1, 1), (2, 8), (16, 16), (33, 64), (700, 700)])
def test_a_rank_is_rounded_up_to_one_that_vllm_takes(rank: int, room: int) -> None:
    assert lora_rank(rank) == room


DEALS: list[tuple[str, int | None, int, int, bool, list[str]]] = [
    # visible, the trainer's place, servers, GPUs each, colocate, the servers' GPUs
    ("", None, 2, 1, False, ["", ""]),
    ("0123", 0, 3, 1, False, ["1", "2", "3"]),
    ("0123", 2, 1, 2, False, ["01"]),
    ("4567", 0, 2, 2, True, ["45", "67"]),
    ("0123", 1, 2, 1, True, ["1", "0"]),
    ("0", 0, 1, 1, True, ["0"]),
    ("01", None, 2, 1, False, ["0", "1"]),
]


@pytest.mark.parametrize(("visible", "own", "servers", "each", "colocate", "dealt"), DEALS)
def test_gpus_are_dealt_out(
    visible: str, own: int | None, servers: int, each: int, colocate: bool, dealt: list[str]
) -> None:
    found = deal_gpus(list(visible), own, servers=servers, each=each, colocate=colocate)
    assert found == [list(names) for names in dealt]


@pytest.mark.parametrize(
    ("ranks", "own", "left"),
    [("1", 0, ("0123", 0)), ("3", 0, ("3", None)), ("3", None, ("0123", None))],
)
def test_servers_get_the_gpus_that_ranks_leave(
    ranks: str, own: int | None, left: tuple[str, int | None]
) -> None:
    assert leave_to_ranks("0123", own, {"LOCAL_WORLD_SIZE": ranks}) == left


def test_too_few_gpus_are_one_line_with_a_remedy() -> None:
    with pytest.raises(SamplerError) as caught:
        deal_gpus(["0"], 0, servers=1, each=1, colocate=False)
    assert str(caught.value) == (
        "sampler.servers 1 with sampler.vllm.gpus 1 need 1 GPUs beside the trainer's, and there are"
        " 0: lower one of them, or set sampler.colocate"
    )


def test_a_server_on_the_cpu_cannot_sleep() -> None:
    with pytest.raises(SamplerError, match=r"^sampler\.colocate: vLLM can sleep on a GPU only, "):
        plan_servers(config(colocate=True))


def test_servers_have_logs_of_their_own(tmp_path: Path) -> None:
    settings = config(servers=3).model_copy(update={"out": tmp_path / "run"})
    logs = [tmp_path / f"run/servers/server-{number}.log" for number in range(3)]
    assert [plan.log for plan in plan_servers(settings)] == logs
    assert [plan.log for plan in plan_for_ray(settings, has_gpus=False)] == logs


@pytest.mark.parametrize(("has_gpus", "num_gpus"), [(True, 4), (False, 0)])
def test_ray_chooses_the_gpus_of_a_server(has_gpus: bool, num_gpus: int) -> None:
    plans = plan_for_ray(config(servers=2, vllm={"gpus": 4}), has_gpus=has_gpus)
    assert [plan.num_gpus for plan in plans] == [num_gpus] * 2
    assert all("CUDA_VISIBLE_DEVICES" not in plan.environment for plan in plans)
    assert all("--tensor-parallel-size=4" in plan.command for plan in plans)


def test_no_server_elsewhere_shares_the_gpu_of_the_run() -> None:
    with pytest.raises(SamplerError, match=r"^sampler\.colocate: .* or leave out --ray$"):
        plan_for_ray(config(colocate=True), has_gpus=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "local", "launch": True}, "launch starts vLLM servers: set kind: vllm"),
        ({"colocate": True}, "colocate needs a server that the run starts: set launch: true"),
        ({"servers": 2}, "servers 2 are started with launch: true only"),
        ({"launch": True, "urls": ["http://gpu-1:8000"]}, "urls are those of servers that run"),
        ({"launch": True, "servers": 2, "min_servers": 3}, "min_servers 3 exceeds the number"),
        ({"launch": True, "vllm": {"options": {"port": 1}}}, "'port' is set by the run"),
        ({"launch": True, "vllm": {"options": {"served_model_name": "x"}}}, "is set by the run"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SamplerConfig.model_validate({"kind": "vllm"} | settings)


def test_a_named_list_of_plugins_gets_the_own_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "other")
    [plan] = plan_servers(config(weight_sync="stream"))
    assert plan.environment["VLLM_PLUGINS"] == "other,podium"
    assert "VLLM_PLUGINS" not in plan_servers(config())[0].environment
