"""What routes are given: words of the query as they must be, and the parts of the reading side."""

from typing import Annotated, Final

from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from penstock.model.access import Caller
from penstock.serve.desk import Desk
from penstock.serve.export import Exports
from penstock.serve.health import Pulse
from penstock.serve.live import Live
from penstock.store.read import Order
from penstock.store.rollups import Interval

ID_MAX: Final = 2**63 - 1
PATH_MAX: Final = 200
LIST_MAX: Final = 1_000

GivenDesk = NamedDependency[Desk]
GivenCaller = NamedDependency[Caller]
GivenLive = NamedDependency[Live]
GivenPulse = NamedDependency[Pulse]
GivenExports = NamedDependency[Exports]

_TIME: Final = "RFC 3339 with zone, or integer microseconds since 1970."
OneTag = Annotated[str, QueryParameter(max_length=PATH_MAX, description="A tag's path.")]
AnyTag = Annotated[str | None, QueryParameter(max_length=PATH_MAX, description="A tag's path.")]
Prefix = Annotated[str | None, QueryParameter(max_length=PATH_MAX, description="What paths begin with.")]
Time = Annotated[str | None, QueryParameter(max_length=64, description=_TIME)]
Cursor = Annotated[str | None, QueryParameter(max_length=400, description="`next` of the page before.")]
Limit = Annotated[int, QueryParameter(ge=1, le=LIST_MAX)]
InOrder = Annotated[Order, QueryParameter(description="By (ts, seq).")]
OfInterval = Annotated[Interval, QueryParameter(description="Aligned to UTC.")]
Id = Annotated[int, PathParameter(ge=1, le=ID_MAX)]
PathName = Annotated[str, PathParameter(max_length=PATH_MAX)]
