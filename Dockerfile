# The server on a CPU, its weights inside. Nothing is downloaded at run time.
FROM python:3.12-slim-bookworm AS build
RUN python -m venv /opt/pellucid
ENV PATH=/opt/pellucid/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY restore restore
COPY models models
COPY service service
RUN pip install .

FROM python:3.12-slim-bookworm
# OpenCV's shared libraries.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home pellucid \
    && install -d -o pellucid -g pellucid -m 700 /data
COPY --from=build /opt/pellucid /opt/pellucid
ENV PATH=/opt/pellucid/bin:$PATH PELLUCID_DATA_DIR=/data
USER pellucid
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
# SIGTERM drains: running jobs finish or are queued again.
STOPSIGNAL SIGTERM
ENTRYPOINT ["pellucid"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
