"""S: the four drivers (layers, nodes, complexity, connections), bytes on disk and in memory.

`ARCHITECTURE` are the rows that a retrain of the same model leaves as they are, so a change is a fact to explain.
"""

from plaster_ops.domain.metric import Letter, Scale
from plaster_ops.domain.metrics.declare import COUNTED, HIGHER, INFO, JUDGED, LOWER, axis

_declare = axis(Letter.SIZE, "size")

_GRAPH, _FILES, _WEIGHTS = "size.exported_graph.v2", "size.files.v1", "size.state_dict.v2"
_GPU = "size.torch_allocator.v1"
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
PARAMS_COUNT = _declare("params_count", "count", LOWER, _GRAPH, "parameters, tied ones once", **JUDGED)
PARAMS_TRAINABLE_COUNT = _declare("params_trainable_count", "count", INFO, _GRAPH, "parameters with gradients")
WEIGHTS_BYTES = _declare("weights_bytes", "bytes", LOWER, _WEIGHTS, "the state_dict as stored, tied tensors once")
CHECKPOINT_BYTES = _declare(
    "checkpoint_bytes", "bytes", LOWER, _FILES, "the fit's newest checkpoint, optimiser state included"
)
LAYERS_COUNT = _declare("layers_count", "count", LOWER, _GRAPH, "layers with weights that compute", **JUDGED)
ENGINE_LAYERS_COUNT = _declare(
    "engine_layers_count",
    "count",
    LOWER,
    "size.engine_layers.v1",
    "layers of the built engine, after fusion",
    **COUNTED,
)
DEPTH_COUNT = _declare(
    "depth_count", "count", LOWER, _GRAPH, "operators on the longest path through the exported graph", **JUDGED
)
NODES_COUNT = _declare("nodes_count", "count", LOWER, _GRAPH, "output units of all layers, one sample", **JUDGED)
NODES_PER_LAYER_MEAN_COUNT = _declare(
    "nodes_per_layer_mean_count", "count", LOWER, _GRAPH, "output units per layer, mean", **COUNTED
)
NODES_PER_LAYER_MAX_COUNT = _declare(
    "nodes_per_layer_max_count", "count", LOWER, _GRAPH, "output units of the layer that has most", **COUNTED
)
SAMPLE_MACS = _declare("sample_macs", "macs", LOWER, _GRAPH, "multiply-accumulates for one sample", **JUDGED)
SAMPLE_FLOPS = _declare("sample_flops", "flops", LOWER, _GRAPH, "two for each multiply-accumulate", **COUNTED)
LAYER_FLOPS_MAX_RATIO = _declare(
    "layer_flops_max_ratio", "ratio", INFO, _GRAPH, "FLOPs of the layer that has most / all", **COUNTED
)
FLOPS_UNCOUNTED_OPS_COUNT = _declare(
    "flops_uncounted_ops_count", "count", INFO, _GRAPH, "operators for which no FLOP formula is known"
)
CONNECTIONS_UNIQUE_COUNT = _declare(
    "connections_unique_count", "count", LOWER, _GRAPH, "non-zero weights that layers multiply by, each once", **COUNTED
)
CONNECTIONS_EFFECTIVE_COUNT = _declare(
    "connections_effective_count", "count", LOWER, _GRAPH, "uses of those weights for one sample", **JUDGED
)
DENSITY_RATIO = _declare(
    "density_ratio", "ratio", INFO, _GRAPH, "non-zero weights that layers multiply by / all of them", **COUNTED
)
COMPRESSION_RATIO = _declare("compression_ratio", "ratio", HIGHER, _WEIGHTS, "weight bytes in FP32 / engine bytes")
ENGINE_MEMORY_BYTES = _declare(
    "engine_memory_bytes",
    "bytes",
    LOWER,
    "size.engine_memory.v2",
    "memory that loading and a first answer took, libraries not",
)
PEAK_HOST_BYTES = _declare(
    "peak_host_bytes", "bytes", LOWER, "size.maxrss.v1", "peak resident memory of the measuring process"
)
PEAK_GPU_BYTES = _declare(
    "peak_gpu_bytes",
    "bytes",
    LOWER,
    "size.nvml_process.v1",
    "GPU memory of the measuring process, its context included",
)
TORCH_PEAK_GPU_BYTES = _declare(
    "torch_peak_gpu_bytes", "bytes", LOWER, _GPU, "peak of what torch allocated on the GPU in the measuring process"
)
TRAIN_PEAK_GPU_BYTES = _declare(
    "train_peak_gpu_bytes", "bytes", LOWER, _GPU, "peak of what torch allocated on the GPU while training, largest rank"
)
ARCHITECTURE: frozenset[str] = frozenset(
    metric.key
    for metric in (
        PARAMS_COUNT,
        LAYERS_COUNT,
        DEPTH_COUNT,
        NODES_COUNT,
        SAMPLE_MACS,
        CONNECTIONS_EFFECTIVE_COUNT,
    )
)
