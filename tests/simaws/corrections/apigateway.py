"""API Gateway: binary media types, and the link that an integration goes by, are read back."""

import json
from typing import Any

from moto.apigateway.models import Integration
from moto.apigateway.responses import APIGatewayResponse

from simaws.patch import around


def correct() -> None:
    @around(APIGatewayResponse, "create_rest_api")
    def create(original: Any, response: Any) -> Any:
        status, headers, answer = original(response)
        told = json.loads(answer)
        if types := response._get_param("binaryMediaTypes"):
            response.backend.apis[told["id"]].binaryMediaTypes = told["binaryMediaTypes"] = types
        return status, headers, json.dumps(told)

    @around(APIGatewayResponse, "put_integration")
    def put(original: Any, response: Any) -> Any:
        status, headers, _ = original(response)
        _, _, api, _, resource, _, method, *_ = response.path.split("/")
        integration = response.backend.get_integration(api, resource, method)
        integration.link = response._get_param("connectionId")
        return status, headers, json.dumps(integration.to_json())

    @around(Integration, "to_json")
    def to_json(original: Any, integration: Any) -> dict[str, Any]:
        link = getattr(integration, "link", None)
        told: dict[str, Any] = original(integration)
        return told | ({"connectionId": link} if link else {})
