FROM python:3.13-slim

RUN useradd --create-home --uid 10001 factory \
    && install -d -o factory -m 0700 /var/lib/factory /var/lib/nats /etc/factory-nats

WORKDIR /opt/factory
COPY pyproject.toml README.md LICENSE ./
COPY agents agents
COPY hub hub
COPY adapters adapters
COPY workers workers
COPY packages packages
RUN pip install --no-cache-dir .

USER factory
WORKDIR /home/factory
ENV FACTORY_HOME=/var/lib/factory
ENTRYPOINT ["factory"]
