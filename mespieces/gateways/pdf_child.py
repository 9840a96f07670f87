"""Typesets one attestation in a process of its own: typst keeps hundreds of megabytes after a long one, and so does who runs it.

Run alone, with nothing of the product: a JSON object comes in (`source`, `facts`, `issued_at`, `attached`), the PDF goes out.
"""

import json
import resource
import sys
from typing import Any

import typst

_CPU_SECONDS = 60
_CLOSER = "0.92"
"""How small letters may get, of their usual size, where that saves a second page with a few lines."""


def main() -> None:
    """Read what to typeset, write it typeset."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    asked = json.load(sys.stdin.buffer)
    source, sheet = asked["source"].encode(), _sheet(asked, "1")
    if _pages(sheet) == 2:
        closer = _sheet(asked, _CLOSER)
        sheet = closer if _pages(closer) == 1 else sheet
    # the source is given again: a compiler forgets one made of bytes after its first use
    made = sheet.compile(source, format="pdf", pdf_standards=["a-3a", "ua-1"], timestamp=asked["issued_at"])
    if isinstance(made, bytes):
        sys.stdout.buffer.write(made)


def _sheet(asked: dict[str, Any], shrink: str) -> typst.Compiler:
    facts, attached = (json.dumps(asked[name], ensure_ascii=False) for name in ("facts", "attached"))
    return typst.Compiler(
        asked["source"].encode(),
        font_paths=typst.Fonts(include_system_fonts=False),
        ignore_system_fonts=True,
        sys_inputs={"facts": facts, "attached": attached, "shrink": shrink},
    )


def _pages(sheet: typst.Compiler) -> int:
    return int(sheet.query("<last-page>", field="value", one=True))


if __name__ == "__main__":
    main()
