# pytest-lem beside NVIDIA's TensorRT-LLM. Checked by reading only: nobody has built it yet.
#
#   docker build -f docker/tensorrt.Dockerfile -t lem-tensorrt .
#   docker run --rm --gpus all --ipc host --ulimit memlock=-1 --ulimit stack=67108864 -v "$PWD:/work" lem-tensorrt \
#       pytest benchmarks/ --lem-backend=tensorrt
#
# The image's own Python holds TensorRT-LLM and its torch. pytest-lem lives beside it in an environment of its own, which
# cannot change a package of theirs, and points at theirs.
ARG VERSION=1.2.1
FROM nvcr.io/nvidia/tensorrt-llm/release:${VERSION}

# The image's Python may lack ensurepip, and its own constraints (PIP_CONSTRAINT) are not for what lives beside it.
RUN python3 -m venv --without-pip /opt/lem
COPY pyproject.toml README.md LICENSE /opt/source/
COPY pytest_lem /opt/source/pytest_lem
RUN env -u PIP_CONSTRAINT python3 -m pip --python /opt/lem/bin/python install --no-cache-dir /opt/source

ENV PATH=/opt/lem/bin:$PATH \
    PYTEST_ADDOPTS=--lem-python=tensorrt=/usr/bin/python3
WORKDIR /work
CMD ["pytest", "--help"]
