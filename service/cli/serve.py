"""`pellucid serve`: the server, from settings that are checked first."""

from __future__ import annotations

from typing import Any

import click


@click.command()
@click.option("--host", help="Address to listen at.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 for any free one.  [default: 8000]")
@click.option("--engine", type=click.Choice(["local", "ray"]), help="Where restorations run.  [default: local]")
@click.option("--ray-address", help="auto or HOST:PORT of a running Ray cluster.  [default: start one here]")
@click.option("--devices", help="auto, or a list such as cuda:0,cuda:1 or cpu.  [default: auto]")
@click.option("--data-dir", type=click.Path(file_okay=False), help="Database and pictures.  [default: user's data]")
@click.option("--prior", help="Of jobs that name none.  [default: the embedded]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
@click.option("--log-format", type=click.Choice(["json", "text"]), help="[default: json]")
def serve(**options: Any) -> None:
    """Serve restorations over HTTP.

    Every setting is also a variable PELLUCID_..., such as PELLUCID_MAX_QUEUE; options win. SIGTERM drains: readiness
    fails, running jobs finish or go back to the queue, then the server ends.
    """
    settings = read_settings({name: value for name, value in options.items() if value is not None})
    run(settings)


def read_settings(options: dict[str, Any]) -> Any:
    """Settings from the environment, with options before them.

    Raises:
        click.UsageError: a value is wrong; the message names its variable or its option.
    """
    from pydantic import ValidationError

    from service.settings import Settings

    try:
        return Settings(**options)
    except ValidationError as error:
        wrong = []
        for item in error.errors(include_url=False, include_input=False):
            name = str(item["loc"][0]) if item["loc"] else "settings"
            told = f"--{name.replace('_', '-')}" if name in options else f"PELLUCID_{name.upper()}"
            wrong.append(f"{told}: {item['msg'][:1].lower()}{item['msg'][1:]}")
        raise click.UsageError("; ".join(wrong)) from None


def run(settings: Any) -> None:
    """Serve until told to stop.

    Args:
        settings: a `service.settings.Settings`.

    Raises:
        click.ClickException: the address is taken or not ours.
    """
    import signal
    import socket

    import uvicorn

    from service.app import create_app
    from service.http.listening import ListeningServer
    from service.observability import logs
    from service.protection.keys import KeyFileError
    from service.protection.receiving import deadline_protocol

    logs.configure(settings.log_level, settings.log_format)
    _raise_descriptor_limit()
    try:
        app = create_app(settings)
    except KeyFileError as error:
        raise click.UsageError(f"PELLUCID_API_KEYS_FILE: {error}") from None
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="on",
        http=deadline_protocol(settings.receive_seconds, settings.idle_seconds),
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        # Between requests of one connection; shorter than load balancers' (60 s) would let them reuse a dead one, but
        # they, unlike strangers, can be told.
        timeout_keep_alive=10,
        backlog=2048,
    )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise click.ClickException(
            f"cannot listen at {settings.host}:{settings.port}: {error.strerror}; choose another --port"
        ) from error
    # uvicorn raises the signal that stopped it once more when everything is done: that is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    click.echo(f"pellucid serves at http://{host}:{listener.getsockname()[1]}", err=True)
    server = ListeningServer(config)
    server.run(sockets=[listener])
    if not server.started:
        raise click.ClickException("the server could not be started; the log says why")


def _raise_descriptor_limit() -> None:
    """As many connections as the system lets us have; the usual 1024 are few slow clients."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
