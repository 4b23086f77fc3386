"""How a value is refused."""

from typing import NamedTuple


class Refusal(NamedTuple):
    """One value that will not do."""

    field: str
    value: object
    allowed: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field} = {self.value!s}: {self.allowed}. Mend: {self.mend}"
