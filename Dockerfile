# The environment of this repository. A checkout is mounted at /workspace; docs/ways-in.md has the commands.
FROM python:3.11-slim-bookworm

# The checkout may belong to another user than the one in the container: without safe.directory, git
# refuses it ("dubious ownership"). `dvc exp run` needs a name; that of the checkout's settings is preferred.
# Any user may write to HOME and, by umask, to the environment.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /workspace \
    && git config --system user.name roadseg \
    && git config --system user.email roadseg@localhost \
    && useradd --uid 1000 --create-home roadseg \
    && chmod 1777 /home/roadseg

# The environment is not in the checkout, whose .venv may be that of another system.
ENV ROADSEG_VENV=/opt/venv PATH=/opt/venv/bin:$PATH HOME=/home/roadseg USER=roadseg
WORKDIR /workspace

# uv knows where PyTorch publishes its builds. For CUDA: --build-arg TORCH_BACKEND=cu130
ARG TORCH_BACKEND=cpu
COPY requirements*.txt constraints.txt ./
RUN umask 000 \
    && python -m venv /opt/venv \
    && grep -hE '^torch(vision)?==' requirements*.txt > /tmp/torch.txt \
    && pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --no-cache --no-deps --python /opt/venv --torch-backend "$TORCH_BACKEND" \
       -r /tmp/torch.txt \
    && pip install --no-cache-dir -c constraints.txt -r requirements-demo.txt \
       -r requirements-export.txt -r requirements-models.txt -r requirements-video.txt

# Not setup.py, which only adds files to wheels.
COPY pyproject.toml LICENSE ./
COPY src src
RUN umask 000 \
    && pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && touch /opt/venv/installed /opt/venv/installed-demo /opt/venv/installed-models

USER 1000
CMD ["dvc", "repro"]
