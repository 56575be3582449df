"""Receive weights in a worker of a vLLM server. vLLM imports this module; see plugin.py."""

from typing import Any

from vllm.distributed.weight_transfer.base import WeightTransferEngine
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from podium.weights.bucket import Layout
from podium.weights.link import Link, Meeting, join


class Receiver(WeightTransferEngine[Meeting, Layout]):  # type: ignore[misc]  # not there for mypy
    """Takes buckets of weights from a trainer, by vLLM's API of weight transfer.

    An update that fails leaves a model that computes, with weights of two versions. vLLM itself
    would leave layers without memory, which end the server with the next token, and would count
    what such a layer has got to the next update.
    """

    init_info_cls = Meeting
    update_info_cls = Layout
    link: Link | None = None
    is_updating = False

    def init_transfer_engine(self, init_info: Meeting) -> None:
        """Join the group of a trainer, and leave that of the trainer before."""
        self.shutdown()
        if init_info.transport == "nccl" and self.device.type != "cuda":
            raise ValueError(f"weights cannot come by NCCL to a server on {self.device.type}")
        parallel = self.parallel_config
        rank = 1 + parallel.data_parallel_index * parallel.world_size + parallel.rank
        self.link = join(init_info, rank, self.device)

    def start_weight_update(self) -> None:
        """Make the layers ready for new weights."""
        self.finish_weight_update()
        initialize_layerwise_reload(self.model)
        self.is_updating = True

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Receive one bucket; if that fails, end the update."""
        try:
            super().update_weights(update_info)
        except BaseException:
            self.finish_weight_update()
            raise

    def receive_weights(self, update_info: Layout) -> None:
        """Receive one bucket, and load its weights.

        If that fails, leave the group, because that ends the trainer's side of the broadcast, too.
        """
        if self.link is None:
            raise RuntimeError("no trainer has joined: /init_weight_transfer_engine comes first")
        try:
            data = self.link.receive(update_info.num_bytes)
            self.model.load_weights(update_info.views(data))
        except BaseException:
            self.shutdown()
            raise

    def finish_weight_update(self) -> None:
        """Finish the layers that wait for more, if an update is on."""
        if self.is_updating:
            self.is_updating = False
            finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Leave the group."""
        if self.link is not None:
            self.link.abort()
            self.link = None
