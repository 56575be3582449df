"""Tell vLLM of the backend `podium` of its weight transfer.

vLLM calls `register` in each of its processes, because pyproject.toml names it as an entry point of
`vllm.general_plugins`. So this module imports nothing, and the receiver is imported only by the
workers of a server that is started with

    VLLM_SERVER_DEV_MODE=1 vllm serve ... --weight-transfer-config '{"backend": "podium"}'
"""

from contextlib import suppress

BACKEND = "podium"
GROUP = "vllm.general_plugins"


def register() -> None:
    """Register the backend; do nothing in a vLLM that has no weight transfer yet."""
    with suppress(ImportError):
        from vllm.distributed.weight_transfer import WeightTransferEngineFactory

        with suppress(ValueError):  # it is registered already
            WeightTransferEngineFactory.register_engine(
                BACKEND, "podium.weights.receiver", "Receiver"
            )
