"""Tasks for the modules that import TensorFlow, in a process of their own: `python tensorflow_child.py TASK ...`.

errors OPTIONS DIR...   load each version directory, print one line of JSON with the outcome of each
lite CALLS              run TensorFlow Lite models: print one line of JSON with the outcome of each [version directory,
                        input, type, value] of JSON
trace ADDRESS DIR       ask a model server for a trace of a second, as TensorFlow's users do, and write it to DIR
memory DIR CYCLES       load and unload a version, print the resident megabytes after each cycle
pool DIR SECONDS RUNS   run a version for which calls of up to SECONDS are short; print the nanoseconds of CPU time that
                        TensorFlow's pool of threads took after the trials, and the last answer as JSON
models DIR              write two models to measure memory with: `large` variables and `many` operations
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def run_child(task: str, *arguments: str) -> list[str]:
    """The lines that a task prints."""
    command = [sys.executable, __file__, task, *arguments]
    done = subprocess.run(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def load_outcomes(*folders: Path, **options: object) -> list[tuple[str, str]]:
    """The status code and the text with which loading each version directory ends, with these `LoadOptions`."""
    lines = run_child("errors", json.dumps(options), *map(str, folders))
    return [(code, text) for code, text in map(json.loads, lines)]


def load_all(options_json: str, *folders: str) -> None:
    from wsgiapp.modelserver.errors import ServingError
    from wsgiapp.modelserver.lifecycle.loading import LoadOptions, load

    options = LoadOptions(**json.loads(options_json))
    for folder in folders:
        try:
            load(Path(folder), options).close()
            print(json.dumps(["OK", ""]))
        except ServingError as exc:
            print(json.dumps([exc.code.name, str(exc)]))


def lite_outcomes(*calls: tuple[Path, str, str, object]) -> list[tuple[str, object]]:
    """The status code with which each call ends, and the one output or the text; servables are loaded once."""
    lines = run_child("lite", json.dumps([(str(folder), *call) for folder, *call in calls]))
    return [(code, outcome) for code, outcome in map(json.loads, lines)]


def run_lite(calls_json: str) -> None:
    import ml_dtypes
    import numpy as np

    from wsgiapp.modelserver.errors import ServingError
    from wsgiapp.modelserver.servables.tflite import TfliteServable

    loaded: dict[str, TfliteServable] = {}
    for folder, alias, kind, value in json.loads(calls_json):
        if folder not in loaded:
            loaded[folder] = TfliteServable(Path(folder) / "model.tflite")
        signature = loaded[folder].signatures["serving_default"]
        if kind == "string":
            array = np.array(value.encode(), dtype=object)
        else:
            array = np.array(value, dtype=ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
        (output,) = signature.outputs.values()
        try:
            (answer,) = loaded[folder].run({signature.inputs[alias].name: array}, [output.name])
            print(json.dumps(["OK", answer.item().decode() if kind == "string" else answer.tolist()]))
        except ServingError as exc:
            print(json.dumps([exc.code.name, str(exc)]))
    for servable in loaded.values():
        servable.close()


def take_trace(address: str, folder: str) -> None:
    from wsgiapp.modelserver.servables import runtime  # TensorFlow without what trains models

    assert runtime.VERSION
    from tensorflow.python.profiler import profiler_client

    profiler_client.trace(address, folder, duration_ms=1000, num_tracing_attempts=3)


def measure_memory(folder: str, cycles: str) -> None:
    import numpy as np

    from wsgiapp.modelserver.lifecycle.loading import LoadOptions, load

    loaders = ThreadPoolExecutor(2)  # as the loader's
    for _ in range(int(cycles)):
        servable = loaders.submit(load, Path(folder), LoadOptions()).result()
        signature = servable.signatures["serving_default"]
        servable.run({signature.inputs["x"].name: np.ones((4, 8), np.float32)}, [signature.outputs["y"].name])
        servable.close()
        del servable
        print(int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 2**20, flush=True)


def measure_pool(folder: str, short_seconds: str, runs: str) -> None:
    import numpy as np

    from wsgiapp.modelserver.servables.saved_model import SavedModelServable
    from wsgiapp.modelserver.servables.session_call import TRIALS

    servable = SavedModelServable(Path(folder), short_seconds=float(short_seconds))
    signature = servable.signatures["serving_default"]
    feeds = {signature.inputs["x"].name: np.ones((4, 8), np.float32)}
    fetches = [signature.outputs["y"].name]
    for _ in range(TRIALS):
        servable.run(feeds, fetches)
    before = idle_pool_nanoseconds()
    for _ in range(int(runs)):
        answer = servable.run(feeds, fetches)
    print(idle_pool_nanoseconds() - before)
    print(json.dumps(answer[0].tolist()))


def idle_pool_nanoseconds() -> int:
    """The CPU time that the threads of TensorFlow's pool have taken, once all of them sleep: they spin at first."""
    while True:
        pool = [task for task in Path("/proc/self/task").iterdir() if (task / "comm").read_text() == "tf_Compute\n"]
        if all((task / "stat").read_text().rpartition(")")[2].split()[0] == "S" for task in pool):
            return sum(int((task / "schedstat").read_text().split()[0]) for task in pool)
        time.sleep(0.01)


def write_models(folder: str) -> None:
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self, width, operations, pieces):
            self.wide = tf.Variable(tf.random.normal([8, width]))
            self.pieces = [tf.Variable(tf.ones([8])) for _ in range(pieces)]
            self.operations = operations

        @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
        def predict(self, x):
            for number in range(self.operations):
                x = x * self.pieces[number % len(self.pieces)] + float(number)
            return {"y": tf.reduce_sum(tf.matmul(x, self.wide), axis=1)}

    for name, model in (("large", Model(3_300_000, 1, 1)), ("many", Model(8, 60, 20))):
        tf.saved_model.save(model, f"{folder}/{name}", signatures={"serving_default": model.predict})


if __name__ == "__main__":
    tasks = {
        "errors": load_all,
        "lite": run_lite,
        "trace": take_trace,
        "memory": measure_memory,
        "pool": measure_pool,
        "models": write_models,
    }
    tasks[sys.argv[1]](*sys.argv[2:])
