"""Typesets one attestation in a process of its own: typst keeps hundreds of megabytes after a long one, and so does who runs it.

Run alone, with nothing of the product: a JSON object comes in (`source`, `facts`, `issued_at`, `attached`), the PDF goes out.
"""

import json
import resource
import sys

import typst

_CPU_SECONDS = 60


def main() -> None:
    """Read what to typeset, write it typeset."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    asked = json.load(sys.stdin.buffer)
    made = typst.compile(
        asked["source"].encode(),
        format="pdf",
        font_paths=typst.Fonts(include_system_fonts=False),
        ignore_system_fonts=True,
        pdf_standards=["a-3a", "ua-1"],
        timestamp=asked["issued_at"],
        sys_inputs={
            "facts": json.dumps(asked["facts"], ensure_ascii=False),
            "attached": json.dumps(asked["attached"], ensure_ascii=False),
        },
    )
    if isinstance(made, bytes):
        sys.stdout.buffer.write(made)


if __name__ == "__main__":
    main()
