"""P: how much of the model the optimiser took, in how many pieces, with how much of the user's own code."""

from plaster_ops.domain.metric import Letter, Scale
from plaster_ops.domain.metrics.declare import COUNTED, HIGHER, JUDGED, LOWER, axis

_declare = axis(Letter.PROGRAMMABILITY, "programmability")

_PROG, _LADDER = "programmability.export_coverage.v1", "programmability.ladder.v1"
_BUILD, _USER = "programmability.build.v1", "programmability.user_code.v1"
ENGINE_FLOPS_RATIO = _declare(
    "engine_flops_ratio",
    "ratio",
    HIGHER,
    _PROG,
    "FLOPs executed inside optimised engines / all counted FLOPs",
    headline=True,
    scale=Scale.EXACT,
    margin=0.0,
)
ENGINE_OPS_RATIO = _declare(
    "engine_ops_ratio", "ratio", HIGHER, _PROG, "operators inside engines / operators of the exported graph", **JUDGED
)
SUPPORTED_OPS_RATIO = _declare(
    "supported_ops_ratio", "ratio", HIGHER, _PROG, "operators the backend knows, taken or not / all", **COUNTED
)
ENGINE_TIME_RATIO = _declare(
    "engine_time_ratio", "ratio", HIGHER, "programmability.profile.v1", "time inside engines / time of a forward"
)
ENGINES_COUNT = _declare("engines_count", "count", LOWER, _PROG, "pieces the optimiser cut the model into", **JUDGED)
FALLBACK_SEGMENTS_COUNT = _declare(
    "fallback_segments_count",
    "count",
    LOWER,
    _PROG,
    "runs of operators that stay outside, between the pieces",
    **JUDGED,
)
BOUNDARY_BYTES = _declare(
    "boundary_bytes", "bytes", LOWER, _PROG, "what crosses between engines and outside for one sample", **COUNTED
)
GRAPH_BREAKS_COUNT = _declare(
    "graph_breaks_count", "count", LOWER, _PROG, "places where the export left the graph", **JUDGED
)
EXPORT_OK_COUNT = _declare(
    "export_ok_count", "count", HIGHER, _PROG, "1 if torch.export took the model without changes by the user", **JUDGED
)
UNSUPPORTED_OP_KINDS_COUNT = _declare(
    "unsupported_op_kinds_count", "count", LOWER, _PROG, "distinct operators the backend does not take", **JUDGED
)
PRECISION_FLOPS_RATIO = _declare(
    "precision_flops_ratio", "ratio", HIGHER, _PROG, "products that run in the engine's precision / all", **COUNTED
)
USER_CODE_LINES = _declare(
    "user_code_lines", "lines", LOWER, _USER, "lines of engine.adapters that are code, and options set", **COUNTED
)
CUSTOM_CONVERTERS_COUNT = _declare(
    "custom_converters_count", "count", LOWER, _USER, "converters the user wrote", **COUNTED
)
PLUGINS_COUNT = _declare("plugins_count", "count", LOWER, _USER, "operators the user registered with torch", **COUNTED)
TORCH_EXECUTED_OPS_COUNT = _declare(
    "torch_executed_ops_count", "count", LOWER, _USER, "operators the user kept out of the engine", **COUNTED
)
PRECISIONS_TRIED_COUNT = _declare(
    "precisions_tried_count", "count", HIGHER, _LADDER, "backend x precision candidates of the last ladder", **COUNTED
)
PRECISIONS_BUILT_COUNT = _declare(
    "precisions_built_count", "count", HIGHER, _LADDER, "those of them that built", **COUNTED
)
PRECISIONS_PASSED_COUNT = _declare(
    "precisions_passed_count", "count", HIGHER, _LADDER, "those that passed parity and kept the score", **COUNTED
)
BACKENDS_PASSED_COUNT = _declare(
    "backends_passed_count", "count", HIGHER, _LADDER, "backends with at least one of those", **COUNTED
)
BUILD_COLD_S = _declare("build_cold_s", "s", LOWER, _BUILD, "exported graph to engine files, in its own process")
BUILD_CACHED_S = _declare(
    "build_cached_s", "s", LOWER, _BUILD, "the same where a cache of the backend's held a part of it"
)
REFIT_S = _declare("refit_s", "s", LOWER, "programmability.refit.v1", "the call that puts new weights into the engine")
SPEEDUP_VS_EAGER_RATIO = _declare(
    "speedup_vs_eager_ratio",
    "ratio",
    HIGHER,
    "latency.beside_eager.v1",
    "p50 of eager FP32 / p50 of the engine, in the same processes",
)
HUMAN_INTERVENTIONS_COUNT = _declare(
    "human_interventions_count", "count", LOWER, _USER, "times the run was resumed by hand before it ended", **COUNTED
)
