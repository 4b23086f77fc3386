"""Kinesis: tags given at a stream's creation are kept."""

from typing import Any

from moto.kinesis.responses import KinesisResponse

from simaws.patch import around


def correct() -> None:
    @around(KinesisResponse, "create_stream")
    def create(original: Any, response: Any) -> Any:
        answer = original(response)
        if tags := response._get_param("Tags"):
            response.kinesis_backend.add_tags_to_stream(None, response._get_param("StreamName"), tags)
        return answer
