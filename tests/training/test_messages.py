"""Messages survive JSON, and a fit is known by its work and not by its place."""

import json
from dataclasses import replace

from plaster_ops.training.messages import FitSpec
from tests.training.conftest import SpecMaker


def test_a_spec_survives_json(make_spec: SpecMaker) -> None:
    spec = make_spec(trainer={"precision": "bf16-mixed"}, target_score=0.9)
    assert FitSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_fit_is_the_same_on_other_devices_and_another_one_with_another_seed(make_spec: SpecMaker) -> None:
    spec = make_spec()
    assert replace(spec, devices=2, threads=4, resume_from="x").fit_id() == spec.fit_id()
    assert replace(spec, seed=1).fit_id() != spec.fit_id()
