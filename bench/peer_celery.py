"""A Celery application with a task that does nothing."""

import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.broker_connection_retry_on_startup = True
app.conf.broker_pool_limit = 50


@app.task
def nothing() -> None:
    """Do nothing."""
