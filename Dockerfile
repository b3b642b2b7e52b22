# geonb and all it needs, for a node that has a container runtime and no network. CUDA comes with the wheel of torch; the node has the driver.
#   docker build -t geonb .
#   docker run --rm --gpus all -u "$(id -u):$(id -g)" -v "$PWD:$PWD" -w "$PWD" geonb run segmentation
# On a cluster, once on a machine with docker, then on its nodes:
#   docker save geonb -o geonb.tar && apptainer build geonb.sif docker-archive://geonb.tar
#   apptainer run --nv geonb.sif run segmentation
# Data, runs and notebooks are those of the checkout in which it is run.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/geonb
COPY pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY geonb geonb
RUN make install VENV=/opt/venv && rm -rf /root/.cache
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp
WORKDIR /work
ENTRYPOINT ["geonb"]
CMD ["doctor"]
