# tpt in a container: docs/container.md. For CPUs: docker build -t tpt .
# For GPUs: docker build -t tpt:cuda --build-arg EXTRAS=vllm,ray,lora --build-arg CONSTRAINTS=/dev/null .
FROM python:3.11-slim

# bubblewrap confines programs that a model wrote; some libraries compile kernels when they first run; KubeRay asks with wget.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap gcc libc6-dev wget \
    && rm -rf /var/lib/apt/lists/*

# Options of pip for torch alone, such as an index of builds without CUDA.
ARG TORCH_OPTIONS=""
# hadolint ignore=DL3013,SC2086
RUN pip install --no-cache-dir ${TORCH_OPTIONS} torch==2.13.0

ARG EXTRAS=cpu,lora
# vLLM asks for other versions of some libraries than the tested ones.
ARG CONSTRAINTS=constraints.txt
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tpt ./tpt
RUN pip install --no-cache-dir -c "${CONSTRAINTS}" ".[${EXTRAS}]"

RUN useradd --create-home --uid 1000 tpt && install -d -o tpt -g tpt /runs
USER 1000
WORKDIR /runs
# Models are kept with the runs, on what is mounted there.
ENV HF_HOME=/runs/hub
ENTRYPOINT ["tpt"]
CMD ["--help"]
