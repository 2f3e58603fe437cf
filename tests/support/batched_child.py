"""Texts through `DataPlane.infer`, each in a call of its own and in batches: prints by how much the answers differ.

A process of its own, patched as a worker is. Its settings come from `WSGIAPP_*`; the model `lstm` must be served.
"""

from gevent import monkey

monkey.patch_all(thread=False, queue=False)

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import gevent
import numpy as np
from gevent.pool import Pool

from models.lstm.corpus import compose, parse
from wsgiapp.app import create_planes
from wsgiapp.backend.model_server import ModelServer
from wsgiapp.inference.data_plane import Answer, DataPlane
from wsgiapp.pipelines.pipeline import Payload
from wsgiapp.settings.loading import load_settings

TEXTS = 2000


def texts() -> list[str]:
    """Real reviews and short sentences, and composed ones of one word to some hundred, in no order."""
    written = [
        text for file in (parse.HELD_OUT_FILE, parse.SHORT_FILE) for text, _ in parse.read_held_out(parse.FOLDER / file)
    ]
    composer = compose.Composer(parse.read_domains(), parse.read_shared(), list, seed=7)
    missing = TEXTS - len(written)
    composed = [*composer.comments(missing // 2), *composer.short_comments(missing - missing // 2)]
    chosen = written + ["".join(tokens) for tokens, _ in composed]
    random.Random(7).shuffle(chosen)
    return chosen


def ask_all(plane: DataPlane, chosen: Sequence[str], at_once: int) -> list[Answer]:
    return Pool(at_once).map(lambda text: plane.infer("lstm", Payload({"line": text})), chosen)


def main() -> None:
    configured = load_settings()
    server = ModelServer(configured.backend.address, message_bytes=2**24)
    batching = create_planes(configured, server).data
    models = {name: replace(model, batching=False) for name, model in configured.models.items()}
    single = create_planes(replace(configured, models=models), server).data
    batching.warm_up()
    single.warm_up()
    chosen = texts()
    alone = ask_all(single, chosen, 8)
    with gevent.Timeout(30):
        while ask_all(batching, chosen[:2], 2)[0].timing.rows < 2:  # until the version is known to agree
            gevent.sleep(0.05)
    together = ask_all(batching, chosen, len(chosen))
    pairs = [(one.result, other.result) for one, other in zip(alone, together, strict=True)]
    rows = [answer.timing.rows for answer in together]
    seen = {
        "texts": len(chosen),
        "different": len(set(chosen)),
        "max_difference": max(
            float(np.abs(np.subtract(one["softmax"], other["softmax"])).max()) for one, other in pairs
        ),
        "other_labels": sum(one["labels"] != other["labels"] for one, other in pairs),
        "rows_alone": max(answer.timing.rows for answer in alone),
        "in_batches": sum(each > 1 for each in rows),
        "mean_rows": sum(rows) / len(rows),
    }
    print(json.dumps(seen))
    server.close()


main()
