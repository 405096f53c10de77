# A node of a GPU cluster: what `ray start` and KubeRay's RayService (configs/rayservice.yaml) run.
#
#   docker build -f configs/docker/gpu.Dockerfile -t genserve:gpu .
#   docker run --rm --init --gpus all --network host --shm-size=16g --ulimit nofile=65536 \
#     --env-file node.env genserve:gpu ray start --block --address=HEAD:6379
#
# or, on one machine with configs/single-gpu.yaml,
#
#   docker run --rm --init --gpus all --shm-size=16g -v genserve:/var/lib/genserve \
#     -p 127.0.0.1:8000:8000 -e GENSERVE_API_KEYS=alice:$(openssl rand -hex 24) genserve:gpu \
#     genserve serve /opt/app/configs/single-gpu.yaml --host 0.0.0.0
#
# CUDA's libraries are pinned Python packages that PyTorch and vLLM bring along: an image of
# nvidia/cuda would add some GB of others that nothing loads. The driver is the machine's, by
# the NVIDIA Container Toolkit.

# The packages, in a layer that is cached when only the code changes.
FROM python:3.11-slim-bookworm AS packages
ARG UV_VERSION=0.13.9
# The index of packages, by default PyPI: --build-arg UV_DEFAULT_INDEX=...
ARG UV_DEFAULT_INDEX
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
COPY configs/requirements/gpu.txt /tmp/requirements.txt
COPY configs/requirements/renderer.txt /tmp/renderer.txt
RUN --mount=type=cache,target=/root/.cache \
    python -m venv /opt/genserve \
    && /opt/genserve/bin/pip install --quiet --disable-pip-version-check "uv==${UV_VERSION}" \
    && /opt/genserve/bin/uv pip install --python /opt/genserve/bin/python --link-mode=copy \
       --no-deps --compile-bytecode -r /tmp/requirements.txt
# Playwright, which drives Chromium, only if PACKAGES (below) has it.
ARG PACKAGES=""
RUN --mount=type=cache,target=/root/.cache \
    case " ${PACKAGES} " in *" chromium "*) \
       /opt/genserve/bin/uv pip install --python /opt/genserve/bin/python --link-mode=copy \
       --no-deps --compile-bytecode -r /tmp/renderer.txt ;; \
    esac

FROM python:3.11-slim-bookworm
# g++: Triton and PyTorch compile kernels when a model is loaded. wget: KubeRay's probes.
# Further Debian packages: --build-arg PACKAGES="chromium tesseract-ocr tesseract-ocr-deu", with
# Chromium for the setting `renderer` (400 MB; its sandbox needs user namespaces, configs/README.md)
# and Tesseract's languages for OCR.
ARG PACKAGES=""
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ wget ${PACKAGES} \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home genserve \
    && install -d -o genserve -g genserve /var/lib/genserve /var/cache/huggingface
COPY --from=packages /opt/genserve /opt/genserve
COPY serve_app /opt/app/serve_app
COPY deployments /opt/app/deployments
COPY serve_config.yaml /opt/app/
COPY configs/*.yaml /opt/app/configs/

# The code is not installed as a package: its command is this script.
RUN printf '#!/bin/sh\nexec python -m serve_app.command "$@"\n' > /usr/local/bin/genserve \
    && chmod 755 /usr/local/bin/genserve \
    && PYTHONPATH=/opt/app /opt/genserve/bin/python -m serve_app.launch.installation gpu

USER 1000:1000
WORKDIR /var/lib/genserve
# The data of this node, and the weights of the models: use a volume for the weights, or each new
# container downloads them again.
VOLUME ["/var/lib/genserve", "/var/cache/huggingface"]
# The settings of the cluster (configs/OPERATIONS.md) must be the same on every node.
ENV PATH=/opt/genserve/bin:$PATH \
    PYTHONPATH=/opt/app \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/var/cache/huggingface \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_SERVE_THROUGHPUT_OPTIMIZED=1 \
    RAY_SERVE_PROXY_USE_GRPC=1 \
    RAY_SERVE_ENABLE_DIRECT_INGRESS=0 \
    RAY_SERVE_ENABLE_HA_PROXY=0 \
    RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE=1 \
    RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=310
EXPOSE 8000
# Checks the node: a healthy node without a replica has no proxy and no /healthz.
HEALTHCHECK --interval=10s --timeout=5s --start-period=1m --retries=3 \
    CMD ["wget", "--tries=1", "--timeout=4", "--quiet", "--output-document=/dev/null", \
         "http://127.0.0.1:52365/api/local_raylet_healthz"]
# `ray start --block` drains its node upon this one (`docker stop --timeout=330`), and upon SIGINT it
# kills the replicas at once; `genserve serve` takes either.
STOPSIGNAL SIGTERM
CMD ["ray", "start", "--block", "--head", "--dashboard-host=127.0.0.1"]
