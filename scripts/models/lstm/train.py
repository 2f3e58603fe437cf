#!/usr/bin/env python
"""Train the sentiment model `lstm` and write it as a SavedModel that TensorFlow Serving loads.

Without a corpus of your own it trains on the demo corpus beside this script (scripts/corpus), downloads nothing and
needs about a minute on two CPU cores. The same seed on the same machine gives the same model.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # run as a file: imports begin at scripts/
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from models.lstm.corpus import compose, parse
from quiet import quiet, scratch

if TYPE_CHECKING:
    from models.lstm.corpus.bilstm import BiLstm

Row = tuple[list[str], str]

DEMO_LINES = ("房间很干净，早餐也不错，下次还会来", "前台态度恶劣，空调坏了也没人管", "请问酒店有没有停车场")
DEMO_EPOCHS, DEMO_ROWS, DEMO_SHORT_ROWS = 16, 5000, 5000  # rows are composed afresh for every epoch
USER_EPOCHS = 10
BATCH_ROWS = 64  # fewer for a small corpus, which would make too few steps
MAX_ROW_WORDS = 160  # words; training rows beyond it are cut, serving takes any length
LEARNING_RATE = 6e-3


@dataclass(frozen=True)
class Data:
    """What one training needs: the labels in the order of their class ids, the words, the rows of each epoch.

    `evidence` are the rows to count words in, each of them once; `held_out` are the rows to judge the model by, each
    set under the name that the report gives it.
    """

    labels: list[str]
    words: list[str]
    epochs: list[list[Row]]
    evidence: list[Row]
    held_out: dict[str, list[Row]]


class TrainingError(Exception):
    """The model could not be trained or written; the message says why."""


class Progress:
    """One line that is rewritten on a terminal, plain lines anywhere else."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = time.monotonic()
        self._terminal = sys.stdout.isatty()

    def show(self, epoch: int, loss: float) -> None:
        """Report that `epoch` (from 1) is done."""
        seconds = time.monotonic() - self._started
        line = f"epoch {epoch}/{self._total}  loss {loss:.3f}  {seconds:.0f} s"
        if self._terminal:
            print(f"\r{line}", end="\n" if epoch == self._total else "", flush=True)
        else:
            print(line, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 if the model stands in its place."""
    options = parse_options(argv)
    with scratch() as folder:
        try:
            run(options, folder)
        except (TrainingError, parse.CorpusError) as exc:
            print(f"train: {exc}", file=sys.stderr)
            return 1
    return 0


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    """The command line's options; exits with a message if they do not fit together."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="version folder, e.g. var/models/lstm/1")
    parser.add_argument("--force", action="store_true", help="replace --out if it exists")
    parser.add_argument(
        "--comments",
        type=Path,
        metavar="FILE",
        help="your corpus: one comment a line, words split by spaces, UTF-8",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="one label a line, any set of two or more; class ids follow the order in which labels first appear",
    )
    parser.add_argument("--seed", type=int, default=1, help="of every random draw (default: %(default)s)")
    parser.add_argument(
        "--epochs", type=int, help=f"default: {DEMO_EPOCHS} for the demo corpus, {USER_EPOCHS} for your own"
    )
    options = parser.parse_args(argv)
    if (options.comments is None) != (options.labels is None):
        parser.error("--comments and --labels belong together")
    if options.epochs is not None and options.epochs < 1:
        parser.error("--epochs: must be 1 or more")
    return options


def run(options: argparse.Namespace, folder: Path) -> None:
    """Read, train, write, report. Whatever can be rejected is rejected before the slow import of TensorFlow."""
    if options.out.exists() and not options.force:
        raise TrainingError(f"{options.out} exists; --force replaces it")
    if options.comments:
        epochs = options.epochs or USER_EPOCHS
        data = user_data(options.comments, options.labels, epochs, options.seed)
        samples = [words for words, _ in (data.held_out["comments"] or data.evidence)[:2]]
    else:
        epochs = options.epochs or DEMO_EPOCHS
        tokenize = load_tokenizer(folder)
        data = demo_data(tokenize, epochs, options.seed)
        samples = [tokenize(line) for line in DEMO_LINES]
    model = train(data, epochs, options.seed)
    write(model, options.out, samples)
    report(model, data.held_out, samples, options.out)


def load_tokenizer(folder: Path) -> Callable[[str], list[str]]:
    """jieba as the service uses it: default dictionary, `lcut`, blank tokens dropped; its cache goes to `folder`."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.dt.tmp_dir = str(folder)
    return lambda text: [word for word in jieba.lcut(text) if word.strip()]


def demo_data(tokenize: Callable[[str], list[str]], epochs: int, seed: int) -> Data:
    """The demo corpus: fresh comments for each epoch, and reviews and sentences that no clause was taken from."""
    composer = compose.Composer(parse.read_domains(), parse.read_shared(), tokenize, seed)
    whole = [list(composer.comments(DEMO_ROWS)) for _ in range(epochs)]
    drawn = [rows + list(composer.short_comments(DEMO_SHORT_ROWS)) for rows in whole]
    held_out = {
        name: [(tokenize(text), label) for text, label in parse.read_held_out(parse.FOLDER / file)]
        for name, file in (("reviews", parse.HELD_OUT_FILE), ("short sentences", parse.SHORT_FILE))
    }
    words = vocabulary(row for rows in drawn for row in rows)
    # the short comments do not count: half their words stand beside a negation, and alone would mislead
    return Data(list(compose.LABELS), words, drawn, [row for rows in whole for row in rows], held_out)


def user_data(comments_path: Path, labels_path: Path, epochs: int, seed: int) -> Data:
    """A user's corpus; a tenth of it, drawn at random, is held out once there are ten comments."""
    comments, labels = parse.read_segmented(comments_path, labels_path)
    rows = list(zip(comments, labels, strict=True))
    random.Random(seed).shuffle(rows)
    cut = len(rows) // 10
    held_out, kept = rows[:cut], rows[cut:]
    return Data(list(dict.fromkeys(labels)), vocabulary(kept), [kept] * epochs, kept, {"comments": held_out})


def vocabulary(rows: Iterable[Row]) -> list[str]:
    """All words of the rows, the frequent ones first."""
    counts = Counter(word for words, _ in rows for word in words)
    return sorted(counts, key=lambda word: (-counts[word], word))


def train(data: Data, epochs: int, seed: int) -> BiLstm:
    """The trained network; the learning rate falls to nothing over the epochs."""
    import numpy as np

    with quiet():
        import tensorflow as tf

    from models.lstm.corpus import bilstm

    tf.config.experimental.enable_op_determinism()
    tf.random.set_seed(seed)
    model = bilstm.BiLstm(data.words, data.labels, seed)
    word_ids = {word: index for index, word in enumerate(data.words, bilstm.UNKNOWN + 1)}
    class_ids = {label: index for index, label in enumerate(data.labels)}

    def encode(rows: list[Row]) -> list[tuple[list[int], int]]:
        return [([word_ids.get(w, bilstm.UNKNOWN) for w in words[:MAX_ROW_WORDS]], class_ids[of]) for words, of in rows]

    model.count_evidence(encode(data.evidence))
    trainer = bilstm.Trainer(model, seed)
    rng = np.random.default_rng(seed)
    progress = Progress(epochs)
    for epoch, rows in enumerate(data.epochs):
        batches = bilstm.make_batches(encode(rows), min(BATCH_ROWS, max(8, len(rows) // 40)), rng)
        losses = []
        for index, batch in enumerate(batches):
            left = 1.0 - (epoch + index / len(batches)) / epochs
            losses.append(trainer.train(batch, LEARNING_RATE * max(left, 0.02)))
        progress.show(epoch + 1, float(np.mean(losses)))
    trainer.use_averages()
    return model


def write(model: BiLstm, out: Path, samples: list[list[str]]) -> None:
    """Save beside `out`, load it back, compare, and only then rename into place; a failure leaves nothing behind."""
    import numpy as np
    import tensorflow as tf

    from models.lstm.corpus import bilstm

    out.parent.mkdir(parents=True, exist_ok=True)
    # a leading dot: TF Serving and people looking for versions pass over it
    half = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        bilstm.export(model, half)
        loaded = tf.saved_model.load(str(half)).signatures["serving_default"]
        _, wanted = bilstm.predict(model.serve, samples)
        _, got = bilstm.predict(loaded, samples)
        if not np.allclose(wanted, got, atol=1e-5):
            raise TrainingError(f"{half}: the saved model answers otherwise than the trained one")
        half.chmod(0o755)  # mkdtemp makes it private, but the model server may run as another user
        if out.exists():
            shutil.rmtree(out)
        half.rename(out)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


def report(model: BiLstm, held_out: dict[str, list[Row]], samples: list[list[str]], out: Path) -> None:
    """Print the held-out accuracy and a few answers."""
    from models.lstm.corpus import bilstm

    for name, rows in held_out.items():
        if not rows:
            continue
        labels, _ = bilstm.predict(model.serve, [words for words, _ in rows])
        right = sum(got.decode() == wanted for got, (_, wanted) in zip(labels, rows, strict=True))
        print(f"held-out accuracy {right / len(rows):.3f} ({right} of {len(rows)} {name})")
    if samples:
        labels, softmax = bilstm.predict(model.serve, samples)
        for words, label, shares in zip(samples, labels, softmax, strict=True):
            print(f"{label.decode()} {shares.max():.3f}  {' '.join(words)}")
    print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(main())
