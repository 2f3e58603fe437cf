"""The sentiment network in plain TensorFlow: words and their characters -> BiLSTM -> attention -> softmax.

Beside it runs a plain count of evidence: what each word and each pair of neighbouring characters says on its own, by
how often each label's comments hold it (naive Bayes). The network alone learns the few cues that suffice for its
corpus; the count gives every cue its due, which carries over to other people's comments.

No Keras: it would write to the home directory, and the whole network is six matrices. A word's vector is its own plus
the mean of its characters' vectors, so a word never seen in training still says what its characters say. Each LSTM
direction is one fused kernel, `BlockLSTMV2`, and not a loop of small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

CHARS_A_WORD = 4  # of the longer words only the head is read; in Chinese these are names and idioms
CODE_POINTS = 0x10000  # characters beyond the basic plane count as unknown
PADDING, UNKNOWN = 0, 1
PAIR_BUCKETS = 1 << 18  # of hashed character pairs; the demo corpus fills a tenth, so few foreign pairs meet its own
EVIDENCE_WEIGHT = 1.0  # of the count against the network in an endless row
EVIDENCE_HALF = 30.0  # words at which it weighs half: in a short row the order of the words decides ("not good")
EVIDENCE_LIMIT = 3.0  # no single word or pair decides
AVERAGE_SHARE = 0.004  # of the newest weights in their running average


@dataclass(frozen=True)
class Sizes:
    """Widths of the layers, floats a step."""

    embedding: int = 40
    hidden: int = 32
    attention: int = 32


@dataclass(frozen=True)
class Dropout:
    """Shares of what is hidden in training, so that no single word decides and unknown ones are nothing new."""

    words: float = 0.25
    chars: float = 0.03
    features: float = 0.1


class Rows:
    """Rows of several lengths as one list of their words, row after row: padding is no word and costs nothing.

    `lengths`: int32 (rows). Of each word: `cells`, int64 (words, 2), its row and position; `row`, int32 (words).
    """

    def __init__(self, lengths: tf.Tensor) -> None:
        self.lengths = lengths
        self.count = tf.shape(lengths)[0]
        self._longest = tf.maximum(tf.reduce_max(lengths), 1)  # of empty rows, too, one step is run
        self.cells = tf.where(tf.sequence_mask(lengths, self._longest))
        self.row, self._position = tf.unstack(tf.cast(self.cells, tf.int32), axis=1)
        self._left = tf.gather(lengths, self.row) - 1 - self._position  # words behind it
        self._starts = tf.cumsum(lengths, exclusive=True)

    def steps(self) -> tf.Tensor:
        """int32 (time, rows): which word stands there; behind a row's last one, the number of all words."""
        return self._at_steps(self._starts + self._times())

    def steps_back(self) -> tf.Tensor:
        """As `steps`, each row from its last word on."""
        return self._at_steps(self._starts + self.lengths - 1 - self._times())

    def places(self) -> tf.Tensor:
        """int32 (words): where each word is in a flat (time * rows) list of `steps`."""
        return self._position * self.count + self.row

    def places_back(self) -> tf.Tensor:
        """As `places`, of `steps_back`."""
        return self._left * self.count + self.row

    def is_last(self) -> tf.Tensor:
        """Bool (words): whether a word ends its row."""
        return self._left == 0

    def sum(self, values: tf.Tensor) -> tf.Tensor:
        """(words, n) -> (rows, n)."""
        return tf.math.unsorted_segment_sum(values, self.row, self.count)

    def _times(self) -> tf.Tensor:
        return tf.range(self._longest)[:, tf.newaxis]

    def _at_steps(self, words: tf.Tensor) -> tf.Tensor:
        return tf.where(self._times() < self.lengths, words, tf.shape(self.row)[0])


class BiLstm(tf.Module):
    """A classifier of segmented text; weights start from `seed` alone."""

    def __init__(self, words: Sequence[str], labels: Sequence[str], seed: int, sizes: Sizes | None = None) -> None:
        super().__init__(name="bilstm")
        sizes = sizes or Sizes()
        self.words = list(words)
        self.labels = list(labels)
        chars = sorted({char for word in words for char in word if ord(char) < CODE_POINTS})
        codes = np.full(CODE_POINTS, UNKNOWN, np.int32)
        codes[[ord(char) for char in chars]] = np.arange(len(chars), dtype=np.int32) + 2
        codes[0] = PADDING
        self._char_ids = tf.constant(codes)
        self._word_ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(self.words), tf.range(2, len(self.words) + 2, dtype=tf.int32)
            ),
            default_value=UNKNOWN,
        )
        _, self.chars_of_word = self.encode_words(tf.constant(["", "", *self.words]))
        self._make_weights(np.random.default_rng(seed), sizes, len(chars) + 2)

    def _make_weights(self, rng: np.random.Generator, sizes: Sizes, chars: int) -> None:
        def weight(name: str, *shape: int, scale: float) -> tf.Variable:
            return tf.Variable(rng.normal(0.0, scale, shape).astype(np.float32), name=name)

        embedding, hidden, attention, classes = sizes.embedding, sizes.hidden, sizes.attention, len(self.labels)
        self.hidden = hidden
        self.word_vectors = weight("word_vectors", len(self.words) + 2, embedding, scale=0.1)
        self.char_vectors = weight("char_vectors", chars, embedding, scale=0.2)
        gate_bias = np.zeros(4 * hidden, np.float32)
        gate_bias[hidden : 2 * hidden] = 1.0  # the forget gate starts open; V2 orders the gates i, f, c, o
        spread = (embedding + hidden) ** -0.5
        self.kernels = [weight(f"lstm_{way}", embedding + hidden, 4 * hidden, scale=spread) for way in ("fw", "bw")]
        self.gate_biases = [tf.Variable(gate_bias, name=f"lstm_{way}_bias") for way in ("fw", "bw")]
        self.attention = weight("attention", 2 * hidden, attention, scale=(2 * hidden) ** -0.5)
        self.attention_query = weight("attention_query", attention, 1, scale=attention**-0.5)
        self.output = weight("output", 6 * hidden, classes, scale=(6 * hidden) ** -0.5)
        self.output_bias = tf.Variable(tf.zeros(classes), name="output_bias")
        self.word_evidence = tf.Variable(tf.zeros((len(self.words) + 2, classes)), trainable=False)
        self.pair_evidence = tf.Variable(tf.zeros((PAIR_BUCKETS, classes)), trainable=False)

    def encode_words(self, words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """String (n) -> word ids int32 (n) and character ids int32 (n, CHARS_A_WORD)."""
        points = tf.raw_ops.UnicodeDecode(input=words, input_encoding="UTF-8")
        ragged = tf.RaggedTensor.from_row_splits(points.char_values, points.row_splits, validate=False)
        codes = ragged.to_tensor(default_value=0, shape=(None, CHARS_A_WORD))
        return self._word_ids.lookup(words), tf.gather(self._char_ids, tf.where(codes < CODE_POINTS, codes, 1))

    def logits(
        self,
        word_ids: tf.Tensor,
        char_ids: tf.Tensor,
        rows: Rows,
        dropout: Dropout | None = None,
        seed: tf.Tensor = (0, 0),
    ) -> tf.Tensor:
        """int32 (words), (words, CHARS_A_WORD) -> float32 (rows, classes)."""
        seeds = tf.unstack(seed + tf.constant([(0, draw) for draw in range(4)]))
        if dropout is not None:
            word_ids = tf.where(_lost(tf.shape(word_ids), dropout.words, seeds[0]), UNKNOWN, word_ids)
            lost = _lost(tf.shape(char_ids), dropout.chars, seeds[1])
            char_ids = tf.where(lost & (char_ids > PADDING), UNKNOWN, char_ids)
        inputs = self._embed(word_ids, char_ids)
        if dropout is not None:
            inputs = _dropped(inputs, dropout.features, seeds[2])
        pooled = self._pool(self._run_both_ways(inputs, rows), rows)
        if dropout is not None:
            pooled = _dropped(pooled, dropout.features, seeds[3])
        return tf.matmul(pooled, self.output) + self.output_bias

    def _embed(self, word_ids: tf.Tensor, char_ids: tf.Tensor) -> tf.Tensor:
        present = tf.cast(char_ids > PADDING, tf.float32)[..., tf.newaxis]
        total = tf.reduce_sum(tf.gather(self.char_vectors, char_ids) * present, axis=1)
        mean = total / tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
        return tf.gather(self.word_vectors, word_ids) + mean

    def _run_both_ways(self, inputs: tf.Tensor, rows: Rows) -> tf.Tensor:
        """float32 (words, embedding) -> (words, 2 * hidden)."""
        padded = tf.pad(inputs, ((0, 1), (0, 0)))  # the last one is padding
        forward, backward = (
            tf.reshape(self._run(tf.gather(padded, steps), way), (-1, self.hidden))
            for way, steps in enumerate((rows.steps(), rows.steps_back()))
        )
        return tf.concat([tf.gather(forward, rows.places()), tf.gather(backward, rows.places_back())], axis=1)

    def _run(self, inputs: tf.Tensor, way: int) -> tf.Tensor:
        """float32 (time, rows, embedding) -> (time, rows, hidden)."""
        start = tf.zeros((tf.shape(inputs)[1], self.hidden))
        no_peephole = tf.zeros(self.hidden)
        return tf.raw_ops.BlockLSTMV2(
            seq_len_max=tf.shape(inputs, out_type=tf.int64)[0],
            x=inputs,
            cs_prev=start,
            h_prev=start,
            w=self.kernels[way],
            wci=no_peephole,
            wcf=no_peephole,
            wco=no_peephole,
            b=self.gate_biases[way],
            cell_clip=0.0,
            use_peephole=False,
        ).h

    def _pool(self, states: tf.Tensor, rows: Rows) -> tf.Tensor:
        """Attention-weighted mean, mean and maximum over a row's words -> (rows, 6 * hidden); zeros for no words."""
        scores = tf.matmul(tf.tanh(tf.matmul(states, self.attention)), self.attention_query)
        weights = tf.exp(tf.clip_by_value(scores, -20.0, 20.0))
        attended = tf.math.divide_no_nan(rows.sum(states * weights), rows.sum(weights))
        mean = tf.math.divide_no_nan(rows.sum(states), tf.cast(rows.lengths, tf.float32)[:, tf.newaxis])
        # LSTM states lie within -1..1, so -1 never wins unless there is no word at all
        highest = tf.maximum(tf.math.unsorted_segment_max(states, rows.row, rows.count), -1.0)
        return tf.concat([attended, mean, highest], axis=1)

    def count_evidence(self, rows: Sequence[tuple[Sequence[int], int]]) -> None:
        """Set both tables from (word ids, class id) rows."""
        words, pairs = [], []
        for label in range(len(self.labels)):
            # an unknown word parts two rows, as pairs with an unknown character do not count
            ids = [UNKNOWN, *(word for row, of in rows if of == label for word in (*row, UNKNOWN))]
            chars = self.chars_of_word.numpy()[ids]
            buckets = pair_buckets(tf.constant(chars), tf.constant(False)).numpy()
            words.append(np.bincount(ids, minlength=len(self.words) + 2))
            pairs.append(np.bincount(buckets.ravel(), minlength=PAIR_BUCKETS))
        self.word_evidence.assign(_evidence(np.stack(words, axis=1), UNKNOWN + 1))
        self.pair_evidence.assign(_evidence(np.stack(pairs, axis=1), 1))

    def evidence(self, word_ids: tf.Tensor, char_ids: tf.Tensor, rows: Rows) -> tf.Tensor:
        """The count for each class, shaped as the logits; what training never held counts nothing."""
        pairs = tf.gather(self.pair_evidence, pair_buckets(char_ids, rows.is_last()))
        return rows.sum(tf.gather(self.word_evidence, word_ids) + tf.reduce_sum(pairs, axis=1))

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec((None, None), tf.string, "words"),
            tf.TensorSpec((None,), tf.int32, "nwords"),
        ]
    )
    def serve(self, words: tf.Tensor, nwords: tf.Tensor) -> dict[str, tf.Tensor]:
        """The signature: segmented rows padded with anything, and their true lengths."""
        rows = Rows(tf.clip_by_value(nwords, 0, tf.shape(words)[1]))
        word_ids, char_ids = self.encode_words(tf.gather_nd(words, rows.cells))
        logits = self.logits(word_ids, char_ids, rows)
        length = tf.square(tf.cast(rows.lengths, tf.float32))[:, tf.newaxis]
        weight = EVIDENCE_WEIGHT * length / (length + EVIDENCE_HALF**2)
        logits += weight * self.evidence(word_ids, char_ids, rows)
        classes = tf.argmax(logits, axis=1)
        return {
            "classes_id": classes,
            "labels": tf.gather(tf.constant(self.labels), classes),
            "softmax": tf.nn.softmax(logits),
        }


def pair_buckets(char_ids: tf.Tensor, is_last: tf.Tensor) -> tf.Tensor:
    """int32 (words, CHARS_A_WORD) -> buckets of neighbouring known characters, 0 where there is no such pair.

    Pairs run across words: `不` before `好` is one, however the text was segmented. With a row's last word, which
    `is_last` tells, they end.
    """
    ends = tf.maximum(tf.reduce_sum(tf.cast(char_ids > PADDING, tf.int32), axis=1) - 1, 0)
    last = tf.gather(char_ids, ends, axis=1, batch_dims=1)
    following = tf.where(is_last, PADDING, tf.roll(char_ids[:, 0], -1, 0))
    left = tf.concat([char_ids[:, :-1], last[:, tf.newaxis]], axis=1)
    right = tf.concat([char_ids[:, 1:], following[:, tf.newaxis]], axis=1)
    # a prime multiplier spreads the pairs; bucket 0 is kept for none
    buckets = tf.math.floormod(left * 8191 + right, PAIR_BUCKETS - 1) + 1
    return tf.where((left > UNKNOWN) & (right > UNKNOWN), buckets, 0)


def _evidence(counts: np.ndarray, foreign: int) -> np.ndarray:
    """(entries, classes) counts -> each entry's log share in a class against the mean of all; 0 if never counted."""
    counts[:foreign] = 0
    seen = counts.sum(axis=1, keepdims=True) > 0
    shares = np.log((counts + 1.0) / (counts + 1.0 * seen).sum(axis=0))
    against = shares - shares.mean(axis=1, keepdims=True)
    return np.where(seen, np.clip(against, -EVIDENCE_LIMIT, EVIDENCE_LIMIT), 0.0).astype(np.float32)


def _lost(shape: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed) < rate


def _dropped(values: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    return tf.where(_lost(tf.shape(values), rate, seed), 0.0, values / (1.0 - rate))


class Trainer:
    """Adam on the cross-entropy of one network; every random draw comes from `seed` and the step's number."""

    def __init__(self, model: BiLstm, seed: int, dropout: Dropout | None = None, smoothing: float = 0.05) -> None:
        self._model = model
        self._seed = seed
        self._dropout = dropout or Dropout()
        self._smoothing = smoothing
        self._weights = model.trainable_variables
        self._averages = [tf.Variable(w) for w in self._weights]
        self._moments = [(tf.Variable(tf.zeros_like(w)), tf.Variable(tf.zeros_like(w))) for w in self._weights]
        self._step = 0

    def train(self, batch: Batch, rate: float) -> float:
        """One step; returns the loss."""
        self._step += 1
        inputs = (batch.words, batch.nwords, batch.labels, [self._seed, self._step * 10], float(self._step), rate)
        return self._update(*map(tf.constant, inputs))

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((2,), tf.int32),
            tf.TensorSpec((), tf.float32),
            tf.TensorSpec((), tf.float32),
        ]
    )
    def _update(self, words, nwords, labels, seed, step, rate):  # type: ignore[no-untyped-def]
        model = self._model
        rows = Rows(nwords)
        words = tf.gather_nd(words, rows.cells)
        with tf.GradientTape() as tape:
            logits = model.logits(words, tf.gather(model.chars_of_word, words), rows, self._dropout, seed)
            wanted = tf.one_hot(labels, len(model.labels))
            wanted = wanted * (1.0 - self._smoothing) + self._smoothing / len(model.labels)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, logits))
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, self._weights)]
        gradients, _ = tf.clip_by_global_norm(gradients, 5.0)
        for weight, (mean, square), gradient in zip(self._weights, self._moments, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=0.9**step,
                beta2_power=0.999**step,
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                epsilon=1e-7,
                grad=gradient,
            )
        share = tf.maximum(AVERAGE_SHARE, 10.0 / (9.0 + step))  # a short training must leave the first weights too
        for weight, average in zip(self._weights, self._averages, strict=True):
            average.assign_add((weight - average) * share)
        return loss

    def use_averages(self) -> None:
        """Give the network the running average of its weights: steadier than those of the last step."""
        for weight, average in zip(self._weights, self._averages, strict=True):
            weight.assign(average)


@dataclass(frozen=True)
class Batch:
    """Rows of alike length: word ids int32 (batch, time), true lengths int32 (batch), class ids int32 (batch)."""

    words: np.ndarray
    nwords: np.ndarray
    labels: np.ndarray


def make_batches(rows: Sequence[tuple[Sequence[int], int]], size: int, rng: np.random.Generator) -> list[Batch]:
    """Batches in random order of rows sorted by length, so that little padding is computed."""
    order = sorted(rng.permutation(len(rows)), key=lambda index: len(rows[index][0]))
    batches = [_pad([rows[index] for index in order[start : start + size]]) for start in range(0, len(order), size)]
    return [batches[index] for index in rng.permutation(len(batches))]


def _pad(rows: Sequence[tuple[Sequence[int], int]]) -> Batch:
    nwords = np.array([len(words) for words, _ in rows], np.int32)
    padded = np.zeros((len(rows), max(1, nwords.max())), np.int32)
    for row, (words, _) in zip(padded, rows, strict=True):
        row[: len(words)] = words
    return Batch(padded, nwords, np.array([label for _, label in rows], np.int32))


def export(model: BiLstm, folder: Path) -> None:
    """Write the SavedModel with the one signature `serving_default`."""
    module = tf.Module()
    module.model = model
    tf.saved_model.save(module, str(folder), signatures={"serving_default": model.serve})


def predict(serve: object, rows: Sequence[Sequence[str]], size: int = 64) -> tuple[list[bytes], np.ndarray]:
    """Labels and softmax (rows, classes) of segmented rows, from a `serve` function or a loaded signature."""
    labels: list[bytes] = []
    softmax = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        width = max(len(row) for row in part)
        words = tf.constant([[*row, *[""] * (width - len(row))] for row in part], tf.string, (len(part), width))
        nwords = tf.constant([len(row) for row in part], tf.int32)
        answer = serve(words=words, nwords=nwords)  # type: ignore[operator]
        labels += answer["labels"].numpy().tolist()
        softmax.append(answer["softmax"].numpy())
    return labels, np.concatenate(softmax)
