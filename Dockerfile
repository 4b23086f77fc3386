# syntax=docker/dockerfile:1.7
# One image for every role: `penstock ingest | work | serve`. It runs as nobody in particular, on a file system that it
# cannot change, and holds no secret. Build and push it with src/penstock/infra/image/push, which gives both arguments
# as src/penstock/infra/image/pins has them: by their bytes, once they are recorded there.

ARG PYTHON=3.12.11-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN python -m venv /opt/penstock
COPY requirements-image.lock ./
RUN /opt/penstock/bin/pip install --no-deps --require-hashes -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/penstock/bin/pip install --no-deps --no-build-isolation . \
    && /opt/penstock/bin/pip uninstall --yes pip \
    && /opt/penstock/bin/python -m compileall -q /opt/penstock/lib
COPY --chmod=0755 src/penstock/infra/image/probe.py /opt/penstock/bin/penstock-probe
# Whom a database is believed to be RDS by; public, and the same for every region.
ARG RDS_CA_SHA256=
ADD --chmod=0444 https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem /build/rds.pem
RUN test -z "$RDS_CA_SHA256" || echo "$RDS_CA_SHA256  /build/rds.pem" | sha256sum --check

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="penstock" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 penstock \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin penstock \
    && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=build /build/rds.pem /etc/ssl/certs/rds.pem
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH \
    HOME=/data \
    PENSTOCK_DATA=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
# Everything that is ever written to; Fargate gives a fresh volume the owner that it has here.
VOLUME ["/data", "/tmp"]
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# Where nothing else says which role this is; task definitions name their own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["penstock-probe", "https://127.0.0.1:8080/healthz", "http://127.0.0.1:8080/healthz", "http://127.0.0.1:8081/healthz"]
ENTRYPOINT ["penstock"]
CMD ["--help"]
