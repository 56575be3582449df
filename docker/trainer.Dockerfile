# The trainer and, as a stage of its own, the vLLM server that it samples from; both want a GPU.
# Build from the repository's root:
#   docker build -f docker/trainer.Dockerfile --target trainer -t podium-trainer .
#   docker build -f docker/trainer.Dockerfile --target policy -t podium-policy .
ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0

# Weights come in over HTTP (adapters by name, whole models by folder): the dev mode serves those
# routes, so this port belongs on the trainer's network and nowhere else.
FROM ${VLLM_IMAGE} AS policy
ENV VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=True
EXPOSE 8000
ENTRYPOINT ["python3", "-P", "-m", "vllm.entrypoints.openai.api_server"]
CMD ["--help"]

FROM python:3.11-slim AS trainer
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 podium \
    && install --directory --owner=podium /runs /weights

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service service
COPY trainer_client trainer_client
RUN pip install --no-cache-dir --constraint constraints.txt '.[trainer]'

USER podium
WORKDIR /runs
VOLUME /runs /weights
# PODIUM_API_KEY and PODIUM_URL must be given; a recipe follows as the command.
ENTRYPOINT ["podium-train"]
CMD ["--help"]
