"""RDS: instances are told apart, and what a request carried is read back."""

import uuid
from typing import Any

from moto.core.responses import ActionResult
from moto.rds.models import DBCluster, DBInstance
from moto.rds.responses import RDSResponse

from simaws.patch import around


def correct() -> None:
    @around(DBInstance, "__init__")
    def initialise(original: Any, instance: Any, *given: Any, **named: Any) -> None:
        original(instance, *given, **named)
        # Moto has one constant for all, and Terraform looks an instance up by it.
        instance.dbi_resource_id = f"db-{uuid.uuid4().hex[:26].upper()}"
        instance.performance_insights_enabled = named.get("enable_performance_insights", False)
        instance.performance_insights_kms_key_id = named.get("performance_insights_kms_key_id") or ""

    @around(RDSResponse, "describe_db_parameters")
    def parameters(original: Any, response: Any) -> ActionResult:
        found = original(response).result["Parameters"]
        return ActionResult({"Parameters": [{"Source": "user", "ApplyType": "dynamic", **one} for one in found]})

    only_serverless = DBCluster.scaling_configuration_info.fget  # type: ignore[attr-defined]
    DBCluster.scaling_configuration_info = property(  # type: ignore[method-assign,assignment]
        lambda cluster: only_serverless(cluster) if cluster.engine_mode == "serverless" else None
    )

    def data_api(cluster: Any, wanted: bool | None) -> None:
        """Moto knows the Data API of Serverless v1 alone; since 2023 every Aurora PostgreSQL has it."""
        cluster._enable_http_endpoint = bool(wanted) and cluster.engine == "aurora-postgresql"

    DBCluster.enable_http_endpoint = DBCluster.enable_http_endpoint.setter(data_api)  # type: ignore[attr-defined]
