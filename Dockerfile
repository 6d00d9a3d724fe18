# The server, its weights inside. Nothing is downloaded at run time. docs/containers.md describes the images.
#
#   docker build -t pellucid .                                        a CPU
#   docker build -t pellucid:gpu --target gpu .                       NVIDIA GPUs
#
# BASE is pinned by tag here and may be pinned by digest: --build-arg BASE=debian:13.8-slim@sha256:...
ARG BASE=debian:13.8-slim

# What both building and running need. Debian's Python gets Debian's security updates.
FROM ${BASE} AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

# A virtual environment with everything. The dependencies come from wheels: no compiler is needed here either.
FROM python AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/pellucid
ENV PATH=/opt/pellucid/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY deploy/constraints.txt deploy/
COPY service/__init__.py service/
# First the dependencies, under an empty package: a change of the sources does not fetch them again.
ARG EXTRAS="openvino,postgres,ray,s3"
# Where pip looks besides PyPI, such as for PyTorch's wheels without CUDA, which make an image of less than half the size.
ARG PIP_EXTRA_INDEX_URL=""
RUN mkdir restore models \
    && pip install --constraint deploy/constraints.txt ".${EXTRAS:+[$EXTRAS]}"
COPY restore restore
COPY models models
COPY service service
RUN pip install --no-deps --force-reinstall .

# Of the environment, what a CPU never opens is taken out. Wheels of PyTorch that were built for CPUs have none of it.
FROM build AS build-cpu
RUN pip uninstall --yes triton \
    && rm -f /opt/pellucid/lib/python3*/site-packages/nvidia/cudnn/lib/libcudnn_*.so.* \
    && pip uninstall --yes pip

# CUDA's runtime, cuDNN and cuBLAS come with PyTorch's wheels, the driver's libraries from the container toolkit.
# ONNX Runtime 1.31 is built for CUDA 13, cuDNN 9 and TensorRT 10.
FROM build AS build-gpu
# The CPU's onnxruntime, which a plain install brings, overwrites files of onnxruntime-gpu: both go, one comes back.
RUN pip install --constraint deploy/constraints.txt ".[gpu]" "onnxruntime-gpu==1.31.*" "tensorrt-cu13==10.*" \
    && pip uninstall --yes onnxruntime onnxruntime-gpu \
    && pip install --no-deps "onnxruntime-gpu==1.31.*" \
    && pip uninstall --yes pip

# What runs: no pip, no build tools. The shared libraries are OpenCV's.
FROM python AS runtime
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0t64 libxcb1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin pellucid \
    && install -d -o pellucid -g pellucid -m 700 /data \
    # KubeRay starts Ray by a login shell, which sets PATH anew.
    && echo "PATH=/opt/pellucid/bin:\$PATH" > /etc/profile.d/pellucid.sh
ENV PATH=/opt/pellucid/bin:$PATH \
    PELLUCID_DATA_DIR=/data \
    PELLUCID_HOST=0.0.0.0 \
    PYTHONDONTWRITEBYTECODE=1
# As a number, so that Kubernetes can tell that it is not root.
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
# SIGTERM drains: running jobs finish or are queued again.
STOPSIGNAL SIGTERM
ENTRYPOINT ["pellucid"]
CMD ["serve"]

FROM runtime AS gpu
COPY --from=build-gpu /opt/pellucid /opt/pellucid
# Where ONNX Runtime finds TensorRT, cuDNN and CUDA.
ARG LIBRARIES=/opt/pellucid/lib/python3.13/site-packages
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=$LIBRARIES/tensorrt_libs:$LIBRARIES/nvidia/cudnn/lib:$LIBRARIES/nvidia/cu13/lib

FROM runtime AS cpu
COPY --from=build-cpu /opt/pellucid /opt/pellucid
# The first start on a machine takes half a minute longer; everything after it half to two thirds of the time.
ENV PELLUCID_BENCH=true
