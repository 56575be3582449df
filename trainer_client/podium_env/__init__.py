"""What verifiers finds by the id `podium-env`: an environment, and a harness.

verifiers takes an id for the name of a module, which must be a top-level one. The environment is
named by `--env.id`, the harness by the `harness.id` of an agent; see `podium.integrations`.
"""

from podium.integrations.verifiers import PodiumEnv, PodiumEnvConfig
from podium_env.chat_harness import ChatHarness

__all__ = ["ChatHarness", "PodiumEnv", "PodiumEnvConfig"]
