# GenServe on one machine without a GPU: configs/cpu.yaml in a container.
#
#   docker build -f configs/docker/cpu.Dockerfile -t genserve:cpu .
#   docker run --rm --init --stop-timeout=90 --shm-size=2g -v genserve:/var/lib/genserve \
#     -p 127.0.0.1:8000:8000 -e GENSERVE_API_KEYS=alice:$(openssl rand -hex 24) genserve:cpu
#
# Keys are needed: requests to a container never come from its own loopback address. Without
# `127.0.0.1:` the port is open to the network; then put a proxy that ends TLS in front.

# The packages, in a layer that is cached when only the code changes.
FROM python:3.11-slim-bookworm AS packages
ARG UV_VERSION=0.13.9
# PyTorch's own index for its CPU build; other packages come from the index of UV_DEFAULT_INDEX,
# by default PyPI (--build-arg UV_DEFAULT_INDEX=...).
ARG UV_TORCH_BACKEND=cpu
ARG UV_DEFAULT_INDEX
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
COPY configs/requirements/cpu.txt /tmp/requirements.txt
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
# libnuma1: vLLM's CPU build is linked with it. wget: for the health check.
# Further Debian packages: --build-arg PACKAGES="chromium tesseract-ocr tesseract-ocr-deu", with
# Chromium for the setting `renderer` (400 MB; its sandbox needs user namespaces, configs/README.md)
# and Tesseract's languages for OCR.
ARG PACKAGES=""
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
    && apt-get install -y --no-install-recommends libnuma1 wget ${PACKAGES} \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home genserve \
    && install -d -o genserve -g genserve /var/lib/genserve
COPY --from=packages /opt/genserve /opt/genserve
COPY serve_app /opt/app/serve_app
COPY deployments /opt/app/deployments
COPY configs/*.yaml /opt/app/configs/

# The code is not installed as a package: its command is this script.
RUN printf '#!/bin/sh\nexec python -m serve_app.command "$@"\n' > /usr/local/bin/genserve \
    && chmod 755 /usr/local/bin/genserve \
    && PYTHONPATH=/opt/app /opt/genserve/bin/python -m serve_app.launch.installation cpu

# The working directory holds all data: documents, jobs, images, prepared models.
USER 1000:1000
WORKDIR /var/lib/genserve
VOLUME /var/lib/genserve
ENV PATH=/opt/genserve/bin:$PATH \
    PYTHONPATH=/opt/app \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/var/lib/genserve/huggingface
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
    CMD ["wget", "--tries=1", "--timeout=4", "--quiet", "--output-document=/dev/null", \
         "http://127.0.0.1:8000/healthz"]
STOPSIGNAL SIGINT
ENTRYPOINT ["genserve"]
CMD ["serve", "/opt/app/configs/cpu.yaml", "--host", "0.0.0.0"]
