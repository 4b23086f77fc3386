"""Where X-Ray is wanted, tasks send their traces to the collector beside them, and it takes them as they are."""

import json

import pytest

from infra.snapshot import kept
from penstock.infra.rules.template import Template
from penstock.settings import read_settings

W3C_IDS = (0, 34)
"""The first of Amazon's collectors that takes trace ids in which no time stands."""


def containers(profile: str) -> list[dict[str, dict[str, object]]]:
    """By task definition, its containers by name, the collector's and the role's."""
    tasks: dict[str, dict[str, dict[str, object]]] = {}
    for task, one in Template(kept(profile)).containers():
        name = "collector" if one["name"] == "collector" else "role"
        tasks.setdefault(str(task), {})[name] = one | {
            "environment": {pair["name"]: pair["value"] for pair in one["environment"]}
        }
    return list(tasks.values())


def test_a_task_sends_traces_to_the_collector_beside_it() -> None:
    tasks = containers("virginia")
    assert len(tasks) == 3
    for task in tasks:
        told, config = task["role"]["environment"], json.loads(task["collector"]["environment"]["AOT_CONFIG_CONTENT"])
        taken = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
        assert told["PENSTOCK_TRACES__URL"] == f"http://{taken}"
        assert config["exporters"]["awsxray"]["indexed_attributes"] == ["penstock.batch_id"]
        assert config["service"]["pipelines"]["traces"]["exporters"] == ["awsxray"]
    assert len({task["role"]["environment"]["PENSTOCK_TRACES__SHARE"] for task in tasks}) == 1


def test_the_collector_takes_ids_in_which_no_time_stands() -> None:
    for task in containers("virginia"):
        version = str(task["collector"]["image"]).rpartition(":v")[2]
        assert tuple(map(int, version.split(".")))[:2] >= W3C_IDS


def test_where_no_collector_is_no_task_is_told_of_one() -> None:
    for task in containers("tokyo"):
        assert not [name for name in task["role"]["environment"] if "TRACES" in name]


def test_what_tasks_are_told_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in containers("virginia")[0]["role"]["environment"].items():
        if "TRACES" in name:
            monkeypatch.setenv(name, str(value))
    assert read_settings().traces.share == pytest.approx(0.01)
