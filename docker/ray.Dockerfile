# A machine of a Ray cluster: the trainer with Ray in /opt/podium, vLLM in the Python of its image
# (`sampler: {vllm: {python: /usr/bin/python3}}`). Head and workers have the same image.
# Build from the repository's root: docker build -f docker/ray.Dockerfile -t podium-ray .
ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0

FROM ${VLLM_IMAGE}
# KubeRay's probes need wget and the agent of `ray[default]`.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 podium \
    && install --directory --owner=podium /runs

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service service
COPY trainer_client trainer_client
RUN python3 -m venv /opt/podium \
    && /opt/podium/bin/pip install --no-cache-dir --constraint constraints.txt '.[trainer,ray]' 'ray[default]'
# The plugin by which vLLM takes weights over the network; vLLM has what it depends on.
RUN /usr/bin/python3 -m pip install --no-cache-dir --no-deps .

USER podium
WORKDIR /runs
VOLUME /runs
ENV PATH=/opt/podium/bin:$PATH RAY_USAGE_STATS_ENABLED=0
ENTRYPOINT []
CMD ["podium-train", "--help"]
