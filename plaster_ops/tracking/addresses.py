"""Where things are on MLflow's pages: addresses after the page's own, so that they hold behind any host and prefix."""

from urllib.parse import quote

DRIFT_VIEW = "plaster-drift"
RETRAINS_VIEW = "plaster-retrains"


def experiment_address(experiment_id: str) -> str:
    """The runs of an experiment."""
    return f"#/experiments/{experiment_id}/runs"


def view_address(experiment_id: str, view: str) -> str:
    """A prepared view of an experiment's runs."""
    mode = "CHART" if view == DRIFT_VIEW else "TABLE"
    return f"{experiment_address(experiment_id)}?viewStateShareKey={view}&compareRunsMode={mode}"


def run_address(experiment_id: str, run_id: str) -> str:
    """One run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}"


def lines_address(experiment_id: str, run_id: str) -> str:
    """The line charts of one run."""
    return f"{run_address(experiment_id, run_id)}/model-metrics"


def artifact_address(experiment_id: str, run_id: str, path: str) -> str:
    """One artifact of a run, shown by MLflow."""
    return f"{run_address(experiment_id, run_id)}/artifacts/{quote(path)}"


def model_address(name: str, version: int | None = None) -> str:
    """A registered model, or one version of it."""
    model = f"#/models/{quote(name, safe='')}"
    return model if version is None else f"{model}/versions/{version}"
