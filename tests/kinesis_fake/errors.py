"""What Kinesis answers when it does not do what was asked."""


class ApiError(Exception):
    """A refusal, by the code that botocore turns into an exception's name."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class ConnectionCut(Exception):
    """No answer at all: the connection ends."""


def invalid(message: str) -> ApiError:
    return ApiError("InvalidArgumentException", message)


def too_long(where: str, limit: int) -> ApiError:
    """The service's words for a member over its limit."""
    text = f"1 validation error detected: Value at '{where}' failed to satisfy constraint: "
    return ApiError("ValidationException", f"{text}Member must have length less than or equal to {limit}")


def not_found(message: str) -> ApiError:
    return ApiError("ResourceNotFoundException", message)


def in_use(message: str) -> ApiError:
    return ApiError("ResourceInUseException", message)


def limit_exceeded(message: str) -> ApiError:
    return ApiError("LimitExceededException", message)


def throttled(message: str) -> ApiError:
    return ApiError("ProvisionedThroughputExceededException", message)


def internal_failure() -> ApiError:
    return ApiError("InternalFailure", "Internal service failure.", 500)
