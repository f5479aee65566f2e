# What a bake needs, for clusters that start containers (docs/scale.md). The clone and results/ are not in
# it: they are on the file system that all containers share.
#     docker build --build-arg PLUGIN=snakemake-executor-plugin-kubernetes -t lora-bakery .
FROM python:3.11-slim

# nfs-common: a job of AWS Batch mounts the shared file system itself
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make nfs-common \
    && rm -rf /var/lib/apt/lists/*

# As `make GPU=1` does it: a torch for GPUs, and onnxruntime-gpu instead of onnxruntime.
COPY Makefile requirements.txt requirements-gpu.txt /build/
ARG TORCH_BACKEND=cu128
RUN pip install --no-cache-dir uv \
    && torch=$(sed -n 's/^TORCH := //p' /build/Makefile) \
    && uv pip install --system --no-cache --torch-backend="$TORCH_BACKEND" "$torch" \
    && grep -v '^onnxruntime==' /build/requirements.txt > /build/others.txt \
    && uv pip install --system --no-cache -r /build/others.txt -r /build/requirements-gpu.txt

# The machine that starts the run needs it, jobs do not.
ARG PLUGIN=snakemake-executor-plugin-kubernetes
RUN uv pip install --system --no-cache "$PLUGIN"
