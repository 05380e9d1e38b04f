"""What an MLflow store holds of one record, counted from outside; equal censuses mean that nothing doubled."""

from typing import Any

from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.names import experiment_name, registered_name


def client_of(tracker: MlflowTracker) -> Any:
    return tracker._open()


def runs_of(tracker: MlflowTracker, pipeline: str = "digits") -> list[Any]:
    client = client_of(tracker)
    experiment = client.get_experiment_by_name(experiment_name(pipeline))
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id], max_results=1000))


def run_of(tracker: MlflowTracker, uid: str, kind: str = "retrain", pipeline: str = "digits") -> Any:
    (found,) = [
        run
        for run in runs_of(tracker, pipeline)
        if run.data.tags.get("plaster.uid") == uid and run.data.tags["plaster.kind"] == kind
    ]
    return found


def cadence_of(tracker: MlflowTracker, pipeline: str = "digits") -> dict[str, list[tuple[int, float]]]:
    """`{run name: [(step, value) of the p50]}`."""
    client = client_of(tracker)
    return {
        run.info.run_name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "latency/e2e_p50_ms")]
        for run in runs_of(tracker, pipeline)
        if run.data.tags["plaster.kind"] == "cadence"
    }


def take(tracker: MlflowTracker, uid: str, index: int, pipeline: str = "digits") -> dict[str, Any]:
    """Counts of runs, points, params, inputs, files, models and versions of one record, and its cadence points."""
    client = client_of(tracker)
    mine = [run for run in runs_of(tracker, pipeline) if run.data.tags.get("plaster.uid") == uid]
    points = {
        run.data.tags["plaster.kind"]: sum(
            len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics
        )
        for run in mine
    }
    parent = run_of(tracker, uid, pipeline=pipeline)
    models = client.search_logged_models([parent.info.experiment_id], filter_string=f"tags.`plaster.uid` = '{uid}'")
    versions = client.search_model_versions(f"name = '{registered_name(pipeline)}' AND tags.`plaster.uid` = '{uid}'")
    return {
        "runs": sorted((run.data.tags["plaster.kind"], run.info.status) for run in mine),
        "points": points,
        "params": dict(parent.data.params),
        "inputs": sorted(d.dataset.digest for d in parent.inputs.dataset_inputs),
        "files": sorted(f.path for f in client.list_artifacts(parent.info.run_id)),
        "models": [(str(m.status), len(client.list_logged_model_artifacts(m.model_id))) for m in models],
        "versions": len(versions),
        "cadence": [point for line in cadence_of(tracker, pipeline).values() for point in line if point[0] == index],
    }
