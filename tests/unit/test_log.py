"""The program's log: one line of JSON an event."""

import io
import json
import logging

from mespieces.cli import console


def logged(act):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(console.Lines())
    logger = logging.Logger("mespieces.test")  # noqa: LOG001 — a logger of its own, known to nobody else
    logger.addHandler(handler)
    act(logger)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json_with_its_facts():
    (line,) = logged(lambda log: log.info("request", extra={"facts": {"status": 200, "route": "/pièces\n"}}))

    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info", "logger": "mespieces.test", "event": "request", "status": 200, "route": "/pièces\n",
    }  # fmt: skip


def test_a_stack_stays_on_the_line_of_its_event():
    def fail(log):
        try:
            raise ValueError("why")
        except ValueError:
            log.exception("unforeseen")

    (line,) = logged(fail)

    assert line["event"] == "unforeseen"
    assert "ValueError: why" in line["stack"]
