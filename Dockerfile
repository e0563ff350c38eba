# Two images from one file: `docker build --target web .` (no torch, a few hundred megabytes) and `--target worker`.
# docker-compose.yml builds both. Each step's install command is run by tests/test_docker.py in a clean environment.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/environment/bin:$PATH LOG_FORMAT=json BLOB_FOLDER=/var/lib/palimpsest/blobs
# The same number in both images, as they share the folder of stored files. A volume takes its owner from here.
RUN groupadd --gid 10001 palimpsest \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/palimpsest --shell /usr/sbin/nologin palimpsest \
    && mkdir -p /var/lib/palimpsest/blobs /var/lib/palimpsest/models \
    && chown -R 10001:10001 /var/lib/palimpsest
WORKDIR /opt/palimpsest
RUN python -m venv /opt/environment
# Only what names the dependencies, so that a change of the code does not install them anew.
COPY pyproject.toml constraints.txt README.md LICENSE ./


FROM base AS web
RUN python -m pip install -c constraints.txt '.[service]'
COPY migrations migrations
COPY templates templates
# What is offered to be learned before people have pictures of their own.
COPY storybook/samples storybook/samples
COPY app app
# They come with the modes that the checkout has, which under a umask such as 027 keep everybody but root out.
RUN chmod -R a+rX .
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Alive, not ready: a database that is away for a moment is no reason to start the web process anew. Past any proxy that the
# environment names, which knows nothing of our own port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "app.serve", "--host", "0.0.0.0", "--port", "8000", "--first-run-link"]


FROM base AS worker
# torch by itself, as this alone decides which build is taken. Left empty, TORCH_INDEX_URL takes the one that your package
# index offers first, which on Linux is built for CUDA and brings CUDA's libraries along: the host needs only its driver.
# The address of an index with other builds (another CUDA, or CPU only) takes one from there.
ARG TORCH_INDEX_URL=""
RUN python -m pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} 'torch==2.13.0'
RUN python -m pip install -c constraints.txt '.[method,service]'
COPY app app
COPY cns cns
COPY storybook storybook
COPY worker worker
RUN chmod -R a+rX .
# Where a base that is named by its hub id is kept.
ENV HF_HOME=/var/lib/palimpsest/models NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
STOPSIGNAL SIGTERM
# It loads its base before it reports, and a large one takes its time.
HEALTHCHECK --interval=30s --timeout=20s --start-period=300s --retries=3 CMD ["python", "-m", "app.worker_alive"]
CMD ["python", "-m", "worker"]
