"""The web application for any WSGI server (`gunicorn wsgi:app`); settings come from the environment."""

from mespieces.cli import service

app = service.application()
