"""The Celery app. It carries only "task N is ready"; everything a task is stands in MySQL (panel/tasks)."""

from __future__ import annotations

import os

from celery import Celery
from kombu.transport.redis import QoS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")

app = Celery("vmpanel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    # An enqueue must fail fast when Redis is away: the sweep finds the task (tasks/worker.py).
    broker_transport_options={"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "max_retries": 1},
    include=["panel.tasks.worker"],
)
# When Redis dies kombu would give back what the worker has not begun, over the connection that it just dropped: that
# raises AttributeError, and ends the worker. The sweep finds such tasks, as it does all others.
QoS.restore_at_shutdown = False
