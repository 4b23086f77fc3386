"""Lambda: dead letters are read back; no code is ever run, and nobody waits for it."""

from typing import Any

from moto.awslambda.models import LambdaBackend, LambdaFunction

from simaws.patch import around


def correct() -> None:
    @around(LambdaFunction, "__init__")
    def initialise(original: Any, function: Any, *given: Any, **named: Any) -> None:
        spec = named.get("spec") or next(one for one in given if isinstance(one, dict))
        original(function, *given, **named)
        function.dead_letters = spec.get("DeadLetterConfig")

    @around(LambdaFunction, "get_configuration")
    def configuration(original: Any, function: Any, *given: Any, **named: Any) -> dict[str, Any]:
        told: dict[str, Any] = original(function, *given, **named)
        return told | ({"DeadLetterConfig": function.dead_letters} if function.dead_letters else {})

    @around(LambdaBackend, "invoke")
    def invoke(original: Any, backend: Any, *given: Any, **named: Any) -> None:
        """Moto wants Docker. Secrets Manager asks for a trial when a rotation is set up: that passes."""
