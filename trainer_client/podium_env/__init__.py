"""The environment of verifiers that `--env.id podium-env` names; see `podium.integrations`.

verifiers takes an id for the name of a module, which must be a top-level one.
"""

from podium.integrations.verifiers import PodiumEnv, PodiumEnvConfig

__all__ = ["PodiumEnv", "PodiumEnvConfig"]
