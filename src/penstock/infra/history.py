"""What stays in PostgreSQL, and for how long: said to those who let it leave."""

from penstock.infra.description import Deployment


def environment(deployment: Deployment) -> dict[str, str]:
    """What a worker is told. No other role asks: whoever shows readings reads in the database which have left."""
    history = deployment.history
    return {
        "PENSTOCK_PROCESS__WINDOW_DAYS": str(history.window_days),
        "PENSTOCK_STORE__KEEP_DAYS": str(history.keep_days),
        "PENSTOCK_STORE__KEEP_CRITICAL_DAYS": str(history.keep_critical_days),
        "PENSTOCK_STORE__KEEP_MINUTES_DAYS": str(history.keep_minutes_days),
    }
