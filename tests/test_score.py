"""`penstock score`: the pipeline's detectors over a file."""

import csv
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import Rejected
from penstock.score import HEADER_OUT, score_file

T0 = datetime(2026, 11, 1, tzinfo=UTC)
REAL = os.environ.get("PENSTOCK_REAL_DATA")


def stamp(seconds: float) -> str:
    return (T0 + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def scored(folder: Path, lines: list[str], learn_s: float = 300.0, tags: str = "") -> list[dict[str, str]]:
    inp, out, tags_csv = folder / "in.csv", folder / "out.csv", folder / "tags.csv"
    inp.write_text("\n".join(["source_ts,tag,value", *lines]) + "\n")
    tags_csv.write_text(f"tag,kind,unit,interval_s\n{tags}")
    score_file(inp, out, learn_s, tags_csv)
    with out.open() as source:
        return list(csv.DictReader(source))


def noise(n: int, seed: int = 1) -> list[float]:
    return np.random.default_rng(seed).normal(20, 1, n).round(4).tolist()


def test_a_header_only_file_gives_a_header_only_file(tmp_path: Path) -> None:
    assert scored(tmp_path, []) == []
    assert (tmp_path / "out.csv").read_text() == ",".join(HEADER_OUT) + "\n"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([f"{stamp(1)},a/b,1", f"{stamp(0)},a/b,1"], "line 3: lines must be ordered by time"),
        ([f"{stamp(1)},a/b"], "line 2"),
        ([f"{stamp(1)},a/b,warm"], "line 2"),
        (["yesterday,a/b,1"], "line 2"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, lines: list[str], why: str) -> None:
    with pytest.raises(Rejected, match=why):
        scored(tmp_path, lines)


def test_a_spike_scores_and_alarms_and_the_asset_with_it(tmp_path: Path) -> None:
    lines = []
    for i, value in enumerate(noise(600)):
        lines += [f"{stamp(i)},lyon/press/a,{60.0 if i == 500 else value}", f"{stamp(i + 0.5)},lyon/press/b,{value}"]
    rows = scored(tmp_path, lines)
    by_tag = {tag: [row for row in rows if row["tag"] == tag] for tag in ("lyon/press/a", "lyon/press/b", "lyon/press")}
    first = next(row for row in by_tag["lyon/press/a"] if row["alarm"] == "1")
    assert first["source_ts"] == stamp(500)
    assert first["test"] == "record"
    assert float(first["score"]) > 0.5
    assert all(row["alarm"] == "0" for row in by_tag["lyon/press/b"])
    assert next(row for row in by_tag["lyon/press"] if row["alarm"] == "1")["source_ts"] == stamp(500)
    assert [len(rows) for rows in by_tag.values()] == [600, 600, 1200 - 1]


def test_silence_is_told_by_the_other_tags_clock(tmp_path: Path) -> None:
    values = noise(200)
    lines = [f"{stamp(i)},lyon/press/{tag},{values[i]}" for i in range(200) for tag in "ab" if i < 100 or tag == "a"]
    rows = scored(tmp_path, lines, learn_s=1e6)
    silent = [row for row in rows if row["test"] == "silence" and row["tag"] == "lyon/press/b"]
    assert [row["source_ts"] for row in silent] == [stamp(105)]


LINES = st.lists(
    st.tuples(st.sampled_from([0, 0.25, 1, 1, 7, 90]), st.sampled_from("abc"), st.sampled_from([1.0, 1.5, 2.0, 9.0])),
    max_size=80,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.integers(0, 80))
def test_a_file_cut_short_gives_the_same_rows_up_to_the_cut(tmp_path: Path, steps, cut: int) -> None:
    lines, at = [], 0.0
    for step, tag, value in steps:
        at += step
        lines.append(f"{stamp(at)},lyon/press/{tag},{value}")
    cut = min(cut, len(lines))
    while 0 < cut < len(lines) and lines[cut].split(",")[0] == lines[cut - 1].split(",")[0]:
        cut -= 1  # a moment is cut between, not within
    whole, part = scored(tmp_path, lines, 5.0), scored(tmp_path, lines[:cut], 5.0)
    readings = [row for row in part if row["test"] != "silence"]
    last = part[-1]["source_ts"] if part else ""
    assert [row for row in whole if row["source_ts"] < last] == [row for row in part if row["source_ts"] < last]
    assert [row for row in whole if row["test"] != "silence"][: len(readings)] == readings


@pytest.mark.skipif(REAL is None, reason="this machine has no real series: PENSTOCK_REAL_DATA names no folder")
@pytest.mark.slow
def test_real_machine_runs_alarm_more_inside_their_labelled_faults(tmp_path: Path) -> None:
    hits = falses = 0
    for path in sorted((Path(str(REAL)) / "skab").glob("data/*/*.csv")):
        if path.parent.name == "anomaly-free":
            continue
        with path.open() as source:
            table = list(csv.DictReader(source, delimiter=";"))
        names = [name for name in table[0] if name not in ("datetime", "anomaly", "changepoint")]
        lines = [f"{row['datetime']},loop/{path.stem}/{n.replace(' ', '-')},{row[n]}" for row in table for n in names]
        rows = scored(tmp_path, lines, learn_s=400.0)
        alarmed = {row["source_ts"] for row in rows if row["tag"] == f"loop/{path.stem}" and row["alarm"] == "1"}
        hits += sum(row["datetime"] in alarmed and float(row["anomaly"]) > 0 for row in table[400:])
        falses += sum(row["datetime"] in alarmed and float(row["anomaly"]) == 0 for row in table[400:])
    assert hits > falses, f"seconds in alarm inside faults {hits}, outside {falses}"
