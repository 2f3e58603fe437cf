"""Texts copied word for word, mistakes included, from the sources of TensorFlow Serving and of what it is built on.

Clients and scripts match on them, so none may be corrected, also where a later release of TF Serving has reworded it.
They are grouped by the file that they come from; a path without a repository is TF Serving's, below
`tensorflow_serving/`. Names in braces are for `str.format`. What follows a text in an error (advice, a name) is this
project's own and stands where the error is raised.
"""

# core/basic_manager.cc, core/manager.h
SERVABLE_NOT_FOUND = "Servable not found for request: {request}"
LATEST = "Latest({name})"
SPECIFIC = "Specific({name}, {version})"

# sources/storage_path/file_system_storage_path_source.cc
NO_BASE_PATH = "Could not find base path {base_path} for servable {name}"
NO_VERSIONS_BELOW = (
    "No versions of servable {name} found under base path {base_path}. "
    "Did you forget to name your leaf directory as a number (eg. '/1/')?"
)
SPECIFIC_VERSION_NOT_FOUND = (
    "Version {version} of servable {name}, which was requested to be served as a 'specific' version in the servable's "
    "version policy, was not found in the file system"
)

# model_servers/get_model_status_impl.cc, servables/tensorflow/predict_impl.cc and others
MISSING_MODEL_SPEC = "Missing ModelSpec"

# model_servers/get_model_status_impl.cc
NO_VERSIONS_OF_MODEL = "Could not find any versions of model {name}"
NO_VERSION_OF_MODEL = "Could not find version {version} of model {name}"

# model_servers/http_rest_api_handler.cc
MALFORMED_REQUEST = "Malformed request: {method} {path}"
SIGNATURE_NAME_NOT_FOUND = 'Serving signature name: "{name}" not found in signature def'

# model_servers/http_rest_api_util.cc
VERSION_NOT_NUMERIC = "Failed to convert version: {version} to numeric."
MODEL_NAME_NOT_DECODED = "Failed to decode model name:{text}"
LABEL_NOT_DECODED = "Failed to decode model version label:{text}"

# model_servers/http_server.cc
ORIGIN_MISSING = "Origin header is missing in CORS preflight"

# model_servers/main.cc
SERVER_VERSION = "TensorFlow ModelServer: {version}\nTensorFlow Library: {tensorflow}"

# model_servers/model_service_impl.cc
CONFIG_TYPE_NOT_SUPPORTED = (
    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
)
RELOAD_FAILED = "ReloadConfig failed: "

# model_servers/server.cc
BATCHING_NOT_ENABLED = (
    "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
)
EXPORTING_REST = "Exporting HTTP/REST API at:{address} ..."
RUNNING_GRPC = "Running gRPC ModelServer at {address} ..."
RUNNING_GRPC_AT_SOCKET = "Running gRPC ModelServer at UNIX socket {path} ..."
PARALLELISM_CONFLICT = (
    "Either configure server_options.tensorflow_session_parallelism or "
    "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
    "separately. You cannot configure all."
)

# model_servers/server_core.cc
NO_MODEL_NAME = "ModelSpec has no name specified."
UNKNOWN_LABEL = "Unrecognized servable version label: {label}"
DUPLICATE_MODEL = "Illegal to list model {name} multiple times in config list"
RELATIVE_BASE_PATH = "Expected model {name} to have an absolute path or URI; got base_path()={base_path}"
BOTH_MODEL_TYPES = (
    "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform"
)
NO_MODEL_TYPE = (
    "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform"
)
PLATFORM_CHANGED = (
    "Illegal to change a model's platform. For model {name} platform was {old} and new platform requested is {new}"
)
UNSUPPORTED_PLATFORM = "Model {name} requests unsupported platform {platform}"
LABEL_NOT_AVAILABLE = (
    "Request to assign label to version {version} of model {name}, which is not currently available for inference"
)
MODELS_NOT_AVAILABLE = "{count} model(s) did not become available: {{{models}}}"
MODEL_NOT_AVAILABLE = "{{{{name: {name}}} due to error: {error}}}, "
VERSION_NOT_AVAILABLE = "{{{{name: {name} version: {version}}} due to error: {error}}}, "

# util/proto_util.h
INVALID_PROTOBUF_FILE = "Invalid protobuf file: '{path}'"

# protobuf: src/google/protobuf/text_format.cc
TEXT_FORMAT_ERROR = "Error parsing text-format {message}"

# servables/tensorflow/classifier.cc, regressor.cc
NO_SIGNATURE = "No signature was found with the name: {name}"
WRONG_METHOD_NAME = "Expected {kind} signature method_name to be {expected}. Was: {found}"
NOT_ONE_INPUT = "Expected one input Tensor."

# servables/tensorflow/classifier.cc
NOT_ONE_OR_TWO_OUTPUTS = "Expected one or two output Tensors, found {count}"
NO_CLASSIFICATION_INPUTS = "No classification inputs found in SignatureDef: {signature}"
NO_CLASSIFICATION_OUTPUTS = (
    'Expected classification signature outputs to contain at least one of "classes" or "scores". '
    "Signature was: {signature}"
)
CLASS_AND_SCORE_SIZES = "Tensors class and score should match in dim_size(1). Got {classes} vs. {scores}"
NOT_BATCH_BY_CLASSES = "Expected Tensor shape: [batch_size num_classes] but got {shape}"
WRONG_CLASSIFICATION_TYPE = "Expected {alias} Tensor of {expected}. Got: {found}"
WRONG_CLASSIFICATION_BATCH = "Expected {alias} output batch size of {expected}. Got: {found}"

# servables/tensorflow/regressor.cc; two spaces before "Got"
NOT_ONE_OUTPUT = "Expected one output Tensor."
NO_REGRESSION_INPUTS = "No regression inputs found in SignatureDef: {signature}"
NO_REGRESSION_OUTPUTS = "No regression outputs found in SignatureDef: {signature}"
WRONG_REGRESSION_SHAPE = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {shape}"
WRONG_REGRESSION_BATCH = "Input batch size did not match output batch size: {examples} vs. {found}"
WRONG_REGRESSION_TYPE = "Expected output Tensor of DT_FLOAT.  Got: {found}"

# servables/tensorflow/util.cc
INPUT_IS_EMPTY = "Input is empty."

# servables/tensorflow/multi_inference.cc
EMPTY_MODEL_NAME = "Found ModelSpec with an empty model name."
DIFFERENT_MODEL_NAMES = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
DUPLICATE_SIGNATURE = "Duplicate evaluation of signature: {name}"
SIGNATURE_NOT_IN_GRAPH = "Requested signature not found in model graph: {name}"
UNSUPPORTED_METHOD_NAME = "Unsupported signature method_name: {name}"

# servables/tensorflow/predict_util.cc
SIGNATURE_KEY_NOT_FOUND = 'Serving signature key "{name}" not found.'
NOT_FOR_PREDICTION = "Expected prediction signature method_name to be one of {{{expected}}}. Was: {found}"
WRONG_INPUT_COUNT = (
    "input size does not match signature: {sent_count}!={wanted_count} len({{{sent}}}) != len({{{wanted}}}). "
    "Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
)
TENSOR_PARSING_ERROR = "tensor parsing error: {alias}"
OUTPUT_NOT_FOUND = (
    "output tensor alias not found in signature: {alias} Outputs expected to be in the set {{{outputs}}}."
)
DUPLICATE_OUTPUT = "duplicate output tensor alias: {alias}"

# servables/tensorflow/get_model_metadata_impl.cc
NO_METADATA_FIELD = "GetModelMetadataRequest must specify at least one metadata_field"
UNSUPPORTED_METADATA_FIELD = "Metadata field {field} is not supported"

# servables/tensorflow/saved_model_warmup_util.cc, saved_model_warmup.cc
TOO_MANY_WARMUP_RECORDS = "Number of warmup records exceeds the maximum ({maximum}) at {path}"
WARMUP_RECORD_NOT_PARSED = "Failed to parse warmup record: {record}"
WARMUP_NOT_TFRECORD = "{error}. Please verify your warmup data is in TFRecord format."
UNSUPPORTED_WARMUP_LOG = "Unsupported log_type for warmup: {log_type}"

# servables/tensorflow/bundle_factory_util.cc
WRONG_LAST_BATCH_SIZE = (
    "Last entry in allowed_batch_sizes must match max_batch_size; last entry was {found}; expected {expected}"
)

# session_bundle/oss/session_bundle_util.cc
NO_SAVED_MODEL = (
    "Specified file path does not appear to contain a SavedModel bundle (should have a file called `saved_model.pb`)"
)

# batching/batching_session.cc
BATCHED_OUTPUT_IS_SCALAR = "Batched output tensor has 0 dimensions"
WRONG_BATCHED_OUTPUT = (
    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors"
)

# batching/batching_util.h
NO_BATCHING_INPUT = "Batching Run() must have at least one input tensor"
BATCHING_INPUT_IS_SCALAR = "Batching Run() input tensors must have at least one dimension"
DIFFERENT_BATCHING_INPUTS = "Batching Run() input tensors must have equal 0th-dimension size"

# tensorflow: tensorflow/core/kernels/batching_util/shared_batch_scheduler.h
MUST_BE_POSITIVE = "{name} must be positive; was {value}"
MUST_NOT_BE_NEGATIVE = "{name} must be non-negative; was {value}"
TASK_TOO_LARGE = "Task size {size} is larger than maximum input batch size {maximum}"
BATCHING_QUEUE_FULL = (
    "The batch scheduling queue to which this task was submitted is full; currently {enqueued} batches enqueued and "
    "max_enqueued_batches is {maximum}"
)

# tensorflow: tensorflow/cc/saved_model/util.cc
INPUT_NOT_FOUND = (
    "Signature input alias: {alias}(feed name: {feed}) not found in request and no default value provided. "
    "Inputs expected to be in the request {{{sent}}}, or default input alias set: {defaults}"
)
INVALID_INPUT_NAME = "Inputs contains invalid name. Used request inputs: {used}, request input: {sent}"

# tensorflow: tensorflow/core/framework/function.cc
WRONG_ARGUMENT_TYPE = "Expects arg[{index}] to be {expected} but {found} is provided"

# util/json_tensor.cc: documents
EMPTY_DOCUMENT = "JSON Parse error: The document is empty"
PARSE_ERROR = "JSON Parse error: {error} at offset: {offset}"
NOT_AN_OBJECT = "JSON Value: {value} Is not object"
SIGNATURE_NAME_NOT_STRING = "JSON Value: {value} not formatted correctly. 'signature_name' key must be a string value."

# util/json_tensor.cc: predict requests
INSTANCES_AND_INPUTS = (
    "JSON Value: {value} Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
)
INSTANCES_NOT_LIST = "JSON Value: {value} Expecting 'instances' to be an list/array"
INSTANCES_EMPTY = "JSON Value: {value} No values in 'instances' array"
NO_INSTANCES_OR_INPUTS = "Missing 'inputs' or 'instances' key"
NO_INPUT_MAP = "Failed to get input map for signature: {name}"
INSTANCES_NOT_OBJECTS = (
    "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map"
)
INPUTS_NOT_OBJECT = (
    "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
)
MISSING_INPUT = "Missing named input: {name} in 'inputs' object."
OBJECT_AMONG_VALUES = "Expecting value/list but got object at item {item} of input list"
LIST_AMONG_OBJECTS = "Expecting object but got list at item {item} of input list"
NO_SUCH_INPUT = "JSON object: does not have named input: {name}"
WRONG_KEYS = (
    "Failed to process element: {item} of 'instances' list. JSON object: {value} keys must be equal to: {names}"
)
ELEMENT_ERROR = "Failed to process element: {item} of 'instances' list. Error: INVALID_ARGUMENT: {error}"
NAMED_ELEMENT_ERROR = (
    "Failed to process element: {item} key: {name} of 'instances' list. Error: INVALID_ARGUMENT: {error}"
)
DIFFERENT_SIZE = "Expecting tensor size: {expected} but got: {found}"
DIFFERENT_SHAPE = "Expecting shape {expected} but got: {found}"

# util/json_tensor.cc: values
UNSUPPORTED_CONVERSION = "Conversion of JSON Value: {value} to type: {dtype}"
WRONG_TYPE = "JSON Value: {value} Type: {kind} is not of expected type: {dtype}"
LOSS_OF_PRECISION = "Cannot convert JSON value: {value} to {dtype} without loss of precision."
WRONG_LIST_LEVEL = "Encountered list at unexpected level: {level} expected < {rank}"
WRONG_LIST_SIZE = "Encountered list at unexpected size: {found} at level: {level} expected size: {expected}"
WRONG_VALUE_LEVEL = (
    "JSON Value: {value} found at incorrect level: {level} in the JSON DOM. Expected at level: {expected}"
)
BASE64_NOT_FORMATTED = "JSON Value: {value} not formatted correctly for base64 data"
BASE64_NOT_DECODED = "Unable to base64 decode"

# util/json_tensor.cc: classify and regress requests; "classify" is said of both
NO_EXAMPLES_KEY = "JSON Value: {value} When method is classify, key 'examples' is expected and was not found"
EXAMPLES_NOT_LIST = "JSON Value: {value} Expecting 'examples' value to be an list/array"
EXAMPLES_EMPTY = "JSON Value: {value} 'examples' value is an empty array"
EXAMPLE_NOT_OBJECT = "Example must be JSON object but got JSON {kind}"
FEATURE_UINT64 = "Feature: {name} has uint64 element. Only int64 is supported."
FEATURE_MIXED = "Unexpected element type in feature: {name} expecting type: {expected}"
FEATURE_WRONG_TYPE = "Feature: {name} has element with unexpected JSON type: {kind}"

# util/json_tensor.cc: answers; a space at the end of the second one
NO_OUTPUTS = "Cannot convert empty tensor map to JSON"
OUTPUT_IS_SCALAR = "Tensor name: {name} has no shape information "
OUTPUT_IS_EMPTY = "Tensor name: {name} has invalid batch size: {size}"
OUTPUTS_DIFFER = "Tensor name: {name} has inconsistent batch size: {size} expecting: {expected}"
OUTPUT_TYPE_NOT_SUPPORTED = "Failed to write JSON value for tensor type: {dtype}"
NO_CLASSIFICATIONS = "Cannot convert empty ClassificationResults to JSON"
NO_REGRESSIONS = "Cannot convert empty RegressionResults to JSON"
