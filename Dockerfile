# One image for every part: `pingpulse api`, `worker`, `migrate`, or the whole stack with `pingpulse up`.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

# A virtual environment, as the Makefile makes it: `temporal` is looked for beside the interpreter.
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# Before the code, so that a change of code does not install everything again.
COPY requirements.txt /tmp/requirements.txt
RUN pip install --require-hashes --requirement /tmp/requirements.txt && rm /tmp/requirements.txt

WORKDIR /app
COPY domain domain
COPY storage storage
COPY activities activities
COPY temporal_workflows temporal_workflows
COPY config config
COPY api api
COPY worker worker
COPY cli cli
# The guides, which the dashboard shows.
COPY docs/integrations docs/integrations

# What `link_project` does in the Makefile: the project on the path, and its command.
RUN echo /app > "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pingpulse.pth" \
    && printf '#!/bin/sh\nexec /opt/venv/bin/python -P -m cli "$@"\n' > /opt/venv/bin/pingpulse \
    && chmod +x /opt/venv/bin/pingpulse \
    && python -m compileall -q /app \
    && useradd --system --create-home --home-dir /data --shell /usr/sbin/nologin pingpulse \
    && chmod 700 /data

USER pingpulse
WORKDIR /data
ENV PINGPULSE_HOST=0.0.0.0 \
    PINGPULSE_PORT=8000 \
    PINGPULSE_DATA_DIR=/data
EXPOSE 8000

ENTRYPOINT ["pingpulse"]
CMD ["--help"]
