"""A Procrastinate application with a task that does nothing."""

import os

from procrastinate import App, PsycopgConnector

clients = int(os.environ.get("BENCH_CLIENTS", "8"))
app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_POSTGRESQL"], min_size=4, max_size=clients))


@app.task
async def nothing() -> None:
    """Do nothing."""
