"""How a value is refused."""

from typing import NamedTuple


class Refusal(NamedTuple):
    """One value that will not do."""

    field: str
    value: object
    allowed: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field} = {_in_a_line(self.value)}: {self.allowed}. Mend: {self.mend}"


def _in_a_line(value: object) -> str:
    return str(value).replace("\n", "\\n")
