"""Write models of many kinds: `python serving_models.py DIRECTORY`, each as DIRECTORY/<name>/1.

examples   TensorFlow 1: classify and regress on tf.Example, with an asset, and signatures that break the rules
kinds      TensorFlow 2: bfloat16 and other types, the rows of a run, a check that fails, an output that is not batched,
           and two signatures on tf.Example, each with an input of its own
keras      a Keras export
bare       TensorFlow 1 without signatures
train      TensorFlow 1 without the tag `serve`
lite       a SavedModel that adds 1, and beside it a model.tflite that adds 2, with two signatures
plain      a model.tflite without signatures

and, also as model.tflite, what other converters make:

stored     adds 2 to [1, 2], with a signature in its metadata
missing    `lite` with an operation that does not exist, and signatures
newer      `plain` with an operation of a version that does not exist yet
select     an operation of TensorFlow's, on [any, any]
bfloat16   [1, 2] of bfloat16 becomes [2, 1]
conv       sums of 3 x 3 x 3 numbers of [1, 8, 8, 3]
sequence   sums of three numbers in a row of [1, any, 1]
scalar     a string of the shape []
"""

import sys
from pathlib import Path

import keras
import tensorflow as tf
from flatbuffers import flexbuffers
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

v1 = tf.compat.v1
saved_model = v1.saved_model


def signature(method, inputs, outputs):
    def described(tensors):
        return {alias: saved_model.build_tensor_info(tensor) for alias, tensor in tensors.items()}

    return saved_model.build_signature_def(described(inputs), described(outputs), f"tensorflow/serving/{method}")


def write_graph(folder, graph_signatures, tags=("serve",), init=None):
    """Save the graph of the current session."""
    builder = saved_model.Builder(str(folder))
    session = v1.get_default_session()
    builder.add_meta_graph_and_variables(
        session,
        list(tags),
        signature_def_map=graph_signatures,
        assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
        main_op=init,
    )
    builder.save()


def write_examples(folder, vocabulary):
    """y = x / 2 + 2 and y2 = x / 2 + 3 of the feature x; labels from an asset file."""
    vocabulary.write_text("negative\npositive\n")
    with tf.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        features = {"x": tf.io.FixedLenFeature([1], tf.float32), "x2": tf.io.FixedLenFeature([1], tf.float32, [0.0])}
        parsed = v1.parse_example(serialized, features)
        x = tf.identity(parsed["x"], name="x")
        half = v1.get_variable("half", initializer=0.5, use_resource=False)
        y = tf.add(half * x, 2.0, name="y")
        y2 = tf.add(half * x, 3.0, name="y2")
        x2 = v1.placeholder(tf.float32, [None, 1], name="x2")
        y3 = tf.add(half * x2, 3.0, name="y3")
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
            ),
            "?",
        )
        indices = tf.tile([[0, 1]], [tf.shape(x)[0], 1])
        labels = table.lookup(tf.cast(indices, tf.int64))
        scores = tf.concat([-x, x], axis=1)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        inputs = {"inputs": serialized}
        write_graph(
            folder,
            {
                "serving_default": signature("predict", {"x": x}, {"y": y}),
                "classify_x_to_y": signature("classify", inputs, {"scores": y}),
                "classify_labels": signature("classify", inputs, {"classes": labels, "scores": scores}),
                "classify_classes": signature("classify", inputs, {"classes": labels}),
                "classify_x2_to_y3": signature("classify", {"inputs": x2}, {"scores": y3}),
                "classify_flat": signature("classify", inputs, {"scores": tf.reshape(y, [-1])}),
                "regress_x_to_y": signature("regress", inputs, {"outputs": y}),
                "regress_x_to_y2": signature("regress", inputs, {"outputs": y2}),
                "regress_x2_to_y3": signature("regress", {"inputs": x2}, {"outputs": y3}),
                "regress_context": signature("regress", inputs, {"outputs": parsed["x2"]}),
                "regress_wide": signature("regress", inputs, {"outputs": scores}),
            },
            init=v1.tables_initializer(),
        )


def parsed(serialized):
    return tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]


class Kinds(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.bfloat16, name="x")])
    def bfloat16(self, x):
        return {"y": x * 2}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def rows(self, x):
        """The rows of the run, for each of them; an error when one is negative."""
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x is negative")]):
            return {"rows": tf.fill([tf.shape(x)[0]], tf.shape(x)[0]), "sum": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def total(self, x):
        return {"total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.quint8, name="x")])
    def quantized(self, x):
        return {"q": tf.identity(x), "y": tf.quantization.dequantize(x, 0.0, 255.0)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def halved(self, inputs):
        return {"outputs": parsed(inputs) / 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def scored(self, inputs):
        return {"scores": parsed(inputs) + 2}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
    def float8(self, x):
        return {"y": tf.cast(x, tf.dtypes.experimental.float8_e5m2)}


def write_kinds(folder):
    kinds = Kinds()
    names = ("bfloat16", "rows", "total", "quantized", "float8", "halved", "scored")
    tf.saved_model.save(kinds, str(folder), signatures={name: getattr(kinds, name) for name in names})


def write_keras(folder):
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2, kernel_initializer="ones")])
    model.export(str(folder), verbose=False)


def write_bare(folder, tags):
    with tf.Graph().as_default(), v1.Session():
        v1.placeholder(tf.float32, [None], name="x")
        write_graph(folder, {}, tags=tags)


class Lite(tf.Module):
    def __init__(self, shift):
        self.shift = shift

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def shifted(self, x):
        return {"y": x + self.shift, "sum": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def echo(self, words):
        return {"words": tf.identity(words)}


def write_lite(folder, plain, scratch):
    beside, lite = Lite(1.0), Lite(2.0)
    tf.saved_model.save(beside, str(folder), signatures={"serving_default": beside.shifted, "echo": beside.echo})
    tf.saved_model.save(lite, str(scratch), signatures={"serving_default": lite.shifted, "echo": lite.echo})
    keys = ["serving_default", "echo"]
    converter = tf.lite.TFLiteConverter.from_saved_model(str(scratch), signature_keys=keys)
    (folder / "model.tflite").write_bytes(converter.convert())
    function = lite.shifted.get_concrete_function()
    plain.mkdir(parents=True)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    (plain / "model.tflite").write_bytes(converter.convert())


def converted(function, shape, dtype=tf.float32, operations=(tf.lite.OpsSet.TFLITE_BUILTINS,)):
    """A model.tflite without signatures, to be changed."""
    spec = tf.TensorSpec(shape, dtype, name="x")
    concrete = tf.function(function, input_signature=[spec]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = list(operations)
    return flatbuffer_utils.read_model_from_bytearray(bytearray(converter.convert()))


def write_lite_file(folder, model):
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


def store_signature(model, key, inputs, outputs):
    """A signature where converters of 2020 put it: a flexbuffer in a buffer that the metadata name."""
    info = tf.compat.v1.saved_model.build_tensor_info
    described = signature("predict", {}, {})
    with tf.Graph().as_default():
        for ends, entries in ((inputs, described.inputs), (outputs, described.outputs)):
            for alias, name in ends.items():
                entries[alias].CopyFrom(info(v1.placeholder(tf.float32, [1, 2])))
                entries[alias].name = name
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key(key)
        builder.String(described.SerializeToString().decode("latin-1"))
    buffer, metadata = schema.BufferT(), schema.MetadataT()
    buffer.data = bytes(builder.Finish())
    metadata.name, metadata.buffer = b"signature_defs_metadata", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), metadata]


def write_lite_kinds(base):
    stored = converted(lambda x: {"y": x + 2.0}, [1, 2])
    (result,) = stored.subgraphs[0].outputs
    name = stored.subgraphs[0].tensors[result].name.decode()
    store_signature(stored, "serving_default", {"numbers": "x:0"}, {"more": name})
    write_lite_file(base / "stored/1", stored)
    missing = flatbuffer_utils.read_model(str(base / "lite/1/model.tflite"))
    code = next(each for each in missing.operatorCodes if each.builtinCode == schema.BuiltinOperator.ADD)
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"NoSuchOperation"
    write_lite_file(base / "missing/1", missing)
    newer = flatbuffer_utils.read_model(str(base / "plain/1/model.tflite"))
    newer.operatorCodes[0].version = 999
    write_lite_file(base / "newer/1", newer)
    select = converted(lambda x: {"y": tf.roll(x, 1, 0)}, [None, None], operations=[tf.lite.OpsSet.SELECT_TF_OPS])
    write_lite_file(base / "select/1", select)
    reshaped = converted(lambda x: {"y": tf.reshape(x, [2, 1])}, [1, 2])
    for tensor in reshaped.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.FLOAT32:
            tensor.type = schema.TensorType.BFLOAT16
    write_lite_file(base / "bfloat16/1", reshaped)
    image = converted(lambda x: {"y": tf.nn.conv2d(x, tf.ones([3, 3, 3, 1]), 1, "VALID")}, [1, 8, 8, 3])
    write_lite_file(base / "conv/1", image)
    sequence = converted(lambda x: {"y": tf.nn.conv1d(x, tf.ones([3, 1, 1]), 1, "VALID")}, [1, None, 1])
    write_lite_file(base / "sequence/1", sequence)
    write_lite_file(base / "scalar/1", converted(lambda x: {"y": tf.identity(x)}, [], tf.string))


if __name__ == "__main__":
    base = Path(sys.argv[1])
    write_examples(base / "examples/1", base / "labels.txt")
    write_kinds(base / "kinds/1")
    write_keras(base / "keras/1")
    write_bare(base / "bare/1", ["serve"])
    write_bare(base / "train/1", ["train"])
    write_lite(base / "lite/1", base / "plain/1", base / "scratch")
    write_lite_kinds(base)
