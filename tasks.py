"""The queue for `huey_consumer tasks.huey`; settings come from the environment."""

from mespieces.cli import service

huey = service.queue()
