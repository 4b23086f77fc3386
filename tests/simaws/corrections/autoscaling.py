"""Application Auto Scaling: targets have tags."""

import json
from typing import Any

from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse

from simaws.patch import add, around

_tags: dict[str, dict[str, str]] = {}
"""By the target's ARN."""


def correct() -> None:
    add(ApplicationAutoScalingResponse, list_tags_for_resource, tag_resource, untag_resource)

    @around(ApplicationAutoScalingResponse, "register_scalable_target")
    def register(original: Any, response: Any) -> str:
        answer: str = original(response)
        if tags := response._get_param("Tags"):
            _tags[json.loads(answer)["ScalableTargetARN"]] = dict(tags)
        return answer


def list_tags_for_resource(response: Any) -> str:
    return json.dumps({"Tags": _tags.get(response._get_param("ResourceARN"), {})})


def tag_resource(response: Any) -> str:
    _tags.setdefault(response._get_param("ResourceARN"), {}).update(response._get_param("Tags"))
    return "{}"


def untag_resource(response: Any) -> str:
    for key in response._get_param("TagKeys"):
        _tags.get(response._get_param("ResourceARN"), {}).pop(key, None)
    return "{}"
