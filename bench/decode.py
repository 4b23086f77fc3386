"""What decoding costs: CPU microseconds a reading, by form, 1,000 readings a body. `--json` prints JSON alone."""

import json
import platform
import sys
import time

import msgspec

from penstock.ingest.codec import Caps, decode

ITEMS, ROUNDS, REPEATS = 1_000, 9, 20
GOALS = {"objects, integer times": 0.5, "objects, RFC 3339": 0.8, "columns, integer times": 0.3}


def bodies() -> dict[str, tuple[bytes, str]]:
    text = [
        {
            "tag": f"lyon/press/line-3/press-{i % 10}/t-{i}",
            "ts": f"2026-11-20T08:00:{i % 60:02d}.{i:03d}Z",
            "value": 81.25 + i / 10,
        }
        for i in range(ITEMS)
    ]
    number = [{**one, "ts": 1_795_161_600_000_000 + i} for i, one in enumerate(text)]
    full = [{**one, "quality": "good", "seq": i, "unit": "Cel"} for i, one in enumerate(text)]
    mixed = [{**one, "value": "x"} if i % 10 == 0 else one for i, one in enumerate(text)]
    forms = {
        "objects, integer times": number,
        "objects, RFC 3339": text,
        "objects, every field": full,
        "objects, a tenth refused": mixed,
        "columns, integer times": columns(number),
        "columns, RFC 3339": columns(text),
        "one reading": text[0],
    }
    made = {name: (json.dumps(form).encode(), "application/json") for name, form in forms.items()}
    return made | {"lines, RFC 3339": ("\n".join(map(json.dumps, text)).encode(), "application/x-ndjson")}


def columns(items: list[dict[str, object]]) -> dict[str, list[object]]:
    return {many: [item[one] for item in items] for many, one in (("tags", "tag"), ("ts", "ts"), ("values", "value"))}


def measure(body: bytes, kind: str) -> float:
    """The best round: others on this machine can only add."""
    items, best = decode(body, kind, Caps()).items, float("inf")
    for _ in range(ROUNDS):
        begun_s = time.process_time()
        for _ in range(REPEATS):
            decode(body, kind, Caps())
        best = min(best, (time.process_time() - begun_s) / REPEATS / items * 1e6)
    return best


def main() -> None:
    figures = {name: round(measure(*body), 3) for name, body in bodies().items()}
    raw = {name: len(body) / (1 if name == "one reading" else ITEMS) for name, (body, _) in bodies().items()}
    machine = {"machine": platform.machine(), "python": platform.python_version(), "msgspec": msgspec.__version__}
    if "--json" not in sys.argv:
        for name, us in figures.items():
            print(
                f"{name:26} {us:7.3f} us  {raw[name]:5.0f} bytes  {'goal ' + str(GOALS[name]) if name in GOALS else ''}"
            )
    print(json.dumps({**machine, "batch": ITEMS, "cpu_us_per_reading": figures, "goals": GOALS}))


if __name__ == "__main__":
    main()
