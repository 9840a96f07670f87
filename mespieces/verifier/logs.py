"""What a verification saw of one journal of an export."""

from dataclasses import dataclass, field


@dataclass
class LogReport:
    """What was seen of one journal."""

    log: str
    origin: str = ""
    size: int = 0
    head: str = ""
    root: str = ""
    time: str = ""
    purged: int = 0
    withheld: int = 0
    trusted_size: int = 0
    """How many records the anchors given by the auditor cover."""
    anchored_size: int = 0
    """How many records a time-stamp that was checked, or a note kept by the auditor, covers."""
    unanchored: int = 0
    """Records after these, anchors themselves left out."""
    unanchored_since: str = ""
    timestamps: list[str] = field(default_factory=list)
    checked: int = 0
    """How many of these tokens the auditor's roots vouch for."""
    unvouched: list[str] = field(default_factory=list)
    """Those of an authority whose root was not given: not checked, no fault, and they date nothing."""
    dated: str = ""
    """The last certain date, among the tokens that were checked, as the token writes it."""
    accuracy: float | None = None
    """By how many seconds it may be wrong, None when the token does not say."""
    latest: str = ""
    """Both together: what it covers existed then at the latest."""
