"""`docs/settings.md` against the settings that the program knows."""

import re
from pathlib import Path

import pytest

from mespieces import config

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8")
KNOWN = sorted(config.PREFIX + name for name in config.KNOWN)


def test_every_setting_has_its_line_and_its_section_and_no_other_has():
    assert sorted(re.findall(r"^\| \[`(\w+)`\]", PAGE, re.MULTILINE)) == KNOWN
    assert sorted(re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)) == KNOWN


@pytest.mark.parametrize("name", KNOWN)
def test_the_example_of_a_setting_is_one_the_program_takes(name):
    section = PAGE.split(f"### `{name}`\n")[1].split("\n#")[0]
    (example,) = re.findall(rf"^Example: `{name}=(.+)`$", section, re.MULTILINE)

    chosen = config.read({name: example.strip('"')})

    assert chosen != config.read({})


def test_the_defaults_on_the_page_are_the_programs(tmp_path):
    chosen = config.read({"MESPIECES_DATA": str(tmp_path)})
    told = dict(re.findall(r"^\| \[`MESPIECES_(\w+)`\]\S+ \| `([^`]*)`", PAGE, re.MULTILINE))

    del told["DATA"]
    assert told.pop("MAIL_FROM") == "ne-pas-repondre@"
    networks = " ".join(map(str, chosen.office_networks))
    for name, default in told.items():
        actual = networks if name == "OFFICE_NETWORKS" else str(getattr(chosen, name.lower()))
        actual = {"True": "yes", "False": "no"}.get(actual, actual)
        assert actual == default.replace("DATA", str(tmp_path)), name
