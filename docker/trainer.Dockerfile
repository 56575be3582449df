# The trainer and, as stages of their own, vLLM for a judge and the vLLM server that the trainer
# samples from; all want a GPU, and all have one user, because they share folders.
# Build from the repository's root:
#   docker build -f docker/trainer.Dockerfile --target trainer -t podium-trainer .
#   docker build -f docker/trainer.Dockerfile --target vllm -t podium-vllm .
#   docker build -f docker/trainer.Dockerfile --target policy -t podium-policy .
ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0

FROM ${VLLM_IMAGE} AS vllm
RUN useradd --create-home --uid 10001 podium \
    && install --directory --owner=podium /models /weights
USER podium
WORKDIR /home/podium
ENV HF_HOME=/models
EXPOSE 8000
ENTRYPOINT ["python3", "-P", "-m", "vllm.entrypoints.openai.api_server"]
CMD ["--help"]

# Weights come in over HTTP (adapters by name, whole models by folder): the dev mode serves those
# routes, so this port belongs on the trainer's network and nowhere else.
FROM vllm AS policy
# The plugin by which vLLM takes weights over the network; vLLM has what it depends on.
USER root
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY trainer_client trainer_client
RUN python3 -m pip install --no-cache-dir --no-deps .
USER podium
WORKDIR /home/podium
ENV VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=True

FROM python:3.11.14-slim AS trainer
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 podium \
    && install --directory --owner=podium /runs /weights /models

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service service
COPY trainer_client trainer_client
RUN pip install --no-cache-dir --constraint constraints.txt '.[trainer]'
COPY docker/with-secrets /usr/local/bin/

USER podium
WORKDIR /runs
VOLUME /runs /weights
ENV HF_HOME=/models
# PODIUM_URL and PODIUM_API_KEY must be given, the latter perhaps as the file
# /run/secrets/podium_api_key; a recipe follows as the command.
ENTRYPOINT ["with-secrets", "podium-train"]
CMD ["--help"]
