"""One process with TensorFlow for all tests of checkpoints: `python checkpoint_worker.py FOLDER`.

It trains small graphs of TensorFlow 1 in FOLDER and then takes a JSON object a line: {"export": ARGUMENTS} and
{"random": ARGUMENTS} run a script, with an optional "file_bytes" as the limit on a file's size; {"predict": DIRECTORY,
"inputs": {...}} asks a SavedModel. Each is answered by a line.
"""

import contextlib
import io
import json
import resource
import sys
import traceback
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
FOLDER = Path(sys.argv[1])
IMAGES = np.linspace(-1, 1, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)


@contextlib.contextmanager
def graph():
    with tf.Graph().as_default(), v1.Session() as session:
        yield session


def trained(name, *, use_resource):
    """Convolution, batch normalisation, dropout, Adam; both kinds of variables, and both kinds of control flow."""
    (v1.enable_control_flow_v2 if use_resource else v1.disable_control_flow_v2)()
    with graph() as session, v1.variable_scope("", use_resource=use_resource):
        images = v1.placeholder(tf.float32, [None, 8, 8, 3], name="images")
        keep_prob = v1.placeholder(tf.float32, name="keep_prob")
        is_training = v1.placeholder(tf.bool, [], name="is_training")
        maps = tf.nn.conv2d(images, v1.get_variable("conv/weights", [3, 3, 3, 4]), 1, "SAME", name="conv/maps")
        means = [v1.get_variable(f"norm/moving_{of}", [4], trainable=False) for of in ("mean", "variance")]
        batch = tf.nn.moments(maps, [0, 1, 2])
        updates = [v1.assign(mean, 0.5 * mean + 0.5 * now) for mean, now in zip(means, batch, strict=True)]
        mean, variance = tf.cond(is_training, lambda: tuple(batch), lambda: tuple(tf.identity(each) for each in means))
        normal = tf.nn.batch_normalization(maps, mean, tf.abs(variance), None, None, 1e-3)
        probs = tf.sigmoid(tf.reduce_mean(v1.nn.dropout(normal, keep_prob=keep_prob), 3), name="out/probs")
        loss = tf.reduce_sum(probs)
        v1.add_to_collection("image_batch", images)
        v1.add_to_collection("mask", probs)
        for each in (loss, maps):
            v1.add_to_collection("losses", each)
        v1.summary.scalar("loss", loss)
        step = v1.train.AdamOptimizer(0.1).minimize(loss)
        saver = v1.train.Saver()
        session.run(v1.global_variables_initializer())
        for _ in range(3):
            session.run([step, *updates], {images: IMAGES, keep_prob: 0.5, is_training: True})
        saver.save(session, str(FOLDER / name))
        np.save(FOLDER / f"{name}.npy", session.run(probs, {images: IMAGES, keep_prob: 1.0, is_training: False}))


def averages():
    """Saved under the names of the moving averages, as for inference; the graph's saver is the only one to know.

    The weight starts as a copy of a variable that is not saved.
    """
    with graph() as session:
        x = v1.placeholder(tf.float32, name="x")
        start = v1.get_variable("start", [], initializer=v1.zeros_initializer())
        w = v1.get_variable("w", initializer=lambda: tf.identity(start))
        tf.multiply(x, w, name="y")
        session.run(w.assign(3.0))
        names = {"w/ExponentialMovingAverage": w}
        v1.train.Saver(names, write_version=v1.train.SaverDef.V1).save(session, str(FOLDER / "older"))
        v1.train.Saver(names).save(session, str(FOLDER / "averages"))


def tables():
    """A vocabulary file, a table of constants, a local variable, and a weight that is not the initial one."""
    (FOLDER / "words.txt").write_text("a\nsample\nb\n")
    with graph() as session:
        words = v1.placeholder(tf.string, [None], name="words")
        of = tf.lookup.TextFileIndex
        from_file = tf.lookup.TextFileInitializer(
            str(FOLDER / "words.txt"), tf.string, of.WHOLE_LINE, tf.int64, of.LINE_NUMBER
        )
        index = tf.lookup.StaticHashTable(from_file, -1).lookup(words)
        prices = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), tf.constant([10.0, 20.0, 30.0]))
        price = tf.lookup.StaticHashTable(prices, -1.0).lookup(index)
        rate = v1.get_variable("rate", [], initializer=v1.zeros_initializer())
        offset = v1.get_variable("offset", initializer=0.5, collections=["local_variables"])
        tf.add(price * rate, offset, name="cost")
        session.run([v1.global_variables_initializer()])
        session.run(rate.assign(2.0))
        v1.train.Saver().save(session, str(FOLDER / "tables"))


def partitioned():
    """A variable in two parts, a saver in shards, and one variable that starts as a copy of another."""
    with graph() as session:
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        w = v1.get_variable("w", [4, 2], partitioner=v1.fixed_size_partitioner(2))
        copy = v1.get_variable("copy", initializer=lambda: tf.reduce_sum(tf.convert_to_tensor(w)), use_resource=False)
        y = tf.matmul(x, tf.convert_to_tensor(w), name="y")
        tf.add(y, copy, name="y_and_copy")
        session.run([each.initializer for each in w])
        session.run([each.assign(each * 0 + number) for number, each in enumerate(w, 1)])
        session.run(copy.initializer)
        v1.train.Saver({"w": w}, sharded=True).save(session, str(FOLDER / "partitioned"), write_meta_graph=False)
        v1.train.export_meta_graph(str(FOLDER / "partitioned.meta"))  # which says nothing of a saver


def queue():
    """The input comes out of a queue, together with labels."""
    with graph() as session:
        pipe = v1.FIFOQueue(10, [tf.int32, tf.float32], [[], [2]])
        v1.train.add_queue_runner(v1.train.QueueRunner(pipe, [pipe.enqueue([1, [2.0, 3.0]])]))
        label, row = pipe.dequeue(name="next")
        y = tf.multiply(row, v1.get_variable("w", initializer=5.0), name="y")
        tf.reduce_sum(y - tf.cast(label, tf.float32), name="loss")
        called = v1.py_func(lambda value: value, [y], tf.float32, name="called")
        tf.identity(called, name="behind")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(FOLDER / "queue"))


def slow():
    """One prediction takes about a second."""
    with graph() as session:
        x = v1.placeholder(tf.float32, [], name="x")
        matrix = tf.fill([300, 300], x * v1.get_variable("w", []))
        _, last = tf.while_loop(lambda i, _: i < 1000, lambda i, m: (i + 1, tf.nn.l2_normalize(m @ m)), [0, matrix])
        tf.reduce_sum(last, name="y")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(FOLDER / "slow"))


def others():
    """What is no checkpoint of a graph, or no meta graph."""
    tf.train.Checkpoint(w=tf.Variable(1.0)).write(str(FOLDER / "objects"))
    with graph():
        v1.placeholder(tf.float32, name="x")
        frozen = v1.get_default_graph().as_graph_def()
    (FOLDER / "frozen.pb").write_bytes(frozen.SerializeToString())
    (FOLDER / "frozen.pbtxt").write_text(str(frozen))
    message = v1.MetaGraphDef.FromString((FOLDER / "averages.meta").read_bytes())
    (FOLDER / "averages.txt").write_text(str(message))
    (FOLDER / "custom.txt").write_text(str(message).replace('op: "Mul"', 'op: "MulOfMyOwn"'))


def predict(directory, inputs):
    with graph() as session:
        signature = v1.saved_model.load(session, ["serve"], directory).signature_def["serving_default"]
        outputs = session.run(
            {name: each.name for name, each in signature.outputs.items()},
            {signature.inputs[name].name: value for name, value in inputs.items()},
        )
    return {name: value.tolist() for name, value in outputs.items()}


def run(main, arguments, file_bytes):
    out, err = io.StringIO(), io.StringIO()
    status = None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes or soft, hard))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(arguments)
    except Exception:  # which the test that asked shall see
        err.write(traceback.format_exc())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


def main():
    for use_resource in (False, True):
        trained("resource" if use_resource else "reference", use_resource=use_resource)
    for make in (averages, tables, partitioned, queue, slow, others):
        make()
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    sys.path.insert(0, str(scripts))
    from checkpoints import export, random_weights

    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "predict" in order:
            answer = predict(order["predict"], order["inputs"])
        else:
            script = export if "export" in order else random_weights
            answer = run(script.main, order.get("export") or order["random"], order.get("file_bytes"))
        print(json.dumps(answer), flush=True)


main()
