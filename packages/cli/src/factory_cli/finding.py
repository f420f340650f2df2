"""What the doctor says of one thing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; advice is of what may be wanted as it is."""

    subject: str
    is_good: bool
    said: str
    is_advice: bool = False

    @property
    def mark(self) -> str:
        """How it stands in a table."""
        return "BAD" if not self.is_good else "note" if self.is_advice else "ok"
