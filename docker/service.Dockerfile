# The ranking service. Build from the repository's root:
#   docker build -f docker/service.Dockerfile -t podium-service .
FROM python:3.11.14-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 podium \
    && install --directory --owner=podium /data

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service service
COPY trainer_client trainer_client
RUN pip install --no-cache-dir --constraint constraints.txt '.[service,otel]'
COPY docker/with-secrets /usr/local/bin/

USER podium
WORKDIR /data
VOLUME /data
ENV PODIUM_HOST=0.0.0.0 PODIUM_PORT=8000 PODIUM_STORE=/data/podium.db
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-P", "-c", "import httpx; httpx.get('http://127.0.0.1:8000/livez', trust_env=False).raise_for_status()"]
# PODIUM_API_KEY must be given, or be the file /run/secrets/podium_api_key: the service refuses to
# listen beyond loopback without one.
ENTRYPOINT ["with-secrets"]
CMD ["podium", "serve"]
