"""S: the four drivers (layers, nodes, complexity, connections), bytes on disk and in memory."""

from plaster_ops.domain.metric import Letter, Scale
from plaster_ops.domain.metrics.declare import COUNTED, HIGHER, INFO, JUDGED, LOWER, axis

_declare = axis(Letter.SIZE, "size")

_SIZE, _FILES = "size.exported_graph.v1", "size.files.v1"
ENGINE_BYTES = _declare(
    "engine_bytes",
    "bytes",
    LOWER,
    _FILES,
    "sum of the engine's own files, manifest excluded",
    headline=True,
    scale=Scale.EXACT,
    margin=0.01,
)
PACKAGE_BYTES = _declare(
    "package_bytes", "bytes", LOWER, _FILES, "the whole engine folder, manifest included", **COUNTED
)
PARAMS_COUNT = _declare("params_count", "count", LOWER, _SIZE, "parameters, tied ones once", **JUDGED)
PARAMS_TRAINABLE_COUNT = _declare("params_trainable_count", "count", INFO, _SIZE, "parameters with gradients")
WEIGHTS_BYTES = _declare("weights_bytes", "bytes", LOWER, _FILES, "parameters and buffers as stored")
LAYERS_COUNT = _declare("layers_count", "count", LOWER, _SIZE, "leaf modules that compute", **COUNTED)
ENGINE_LAYERS_COUNT = _declare(
    "engine_layers_count",
    "count",
    LOWER,
    "size.engine_layers.v1",
    "layers of the built engine, after fusion",
    **COUNTED,
)
DEPTH_COUNT = _declare("depth_count", "count", LOWER, _SIZE, "longest path through the exported graph", **COUNTED)
NODES_COUNT = _declare("nodes_count", "count", LOWER, _SIZE, "output units of all layers, one sample", **COUNTED)
SAMPLE_MACS = _declare("sample_macs", "macs", LOWER, _SIZE, "multiply-accumulates for one sample", **COUNTED)
FLOPS_UNCOUNTED_OPS_COUNT = _declare(
    "flops_uncounted_ops_count", "count", INFO, _SIZE, "operators for which no FLOP formula is known"
)
CONNECTIONS_EFFECTIVE_COUNT = _declare(
    "connections_effective_count", "count", LOWER, _SIZE, "non-zero weights of layers with weights", **COUNTED
)
COMPRESSION_RATIO = _declare("compression_ratio", "ratio", HIGHER, _FILES, "FP32 weight bytes / engine")
ENGINE_MEMORY_BYTES = _declare(
    "engine_memory_bytes",
    "bytes",
    LOWER,
    "size.anonymous.v1",
    "memory that loading and a first answer took, libraries not",
)
PEAK_HOST_BYTES = _declare(
    "peak_host_bytes", "bytes", LOWER, "size.maxrss.v1", "peak resident memory of the measuring process"
)
