import importlib.util
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
SCRIPT = SCRIPTS / "models/lstm/train.py"
GOOD = ["好", "干净", "满意", "漂亮", "便宜"]
BAD = ["差", "脏", "失望", "难看", "昂贵"]
PLAIN = ["几点", "哪里", "多少", "号码", "地址"]
ANGRY = ["投诉", "退钱", "骗子", "气愤", "报警"]
FILLERS = ["房间", "早餐", "的", "了", "前台", "，", "床"]


@pytest.fixture(scope="module")
def train_lstm() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("train_lstm", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_lstm"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def parse(train_lstm: ModuleType) -> ModuleType:
    return train_lstm.parse


def write_corpus(folder: Path, words_of_label: dict[str, list[str]], rows: int = 240) -> list[str]:
    """A separable corpus: every comment holds one or two words that only its label uses."""
    rng = random.Random(5)
    labels = list(words_of_label)
    comments = []
    for index in range(rows):
        words = rng.choices(FILLERS, k=rng.randint(1, 6))
        words += rng.choices(words_of_label[labels[index % len(labels)]], k=rng.randint(1, 2))
        rng.shuffle(words)
        comments.append(" ".join(words))
    (folder / "comments.txt").write_text("\n".join(comments) + "\n", encoding="utf-8")
    (folder / "labels.txt").write_text("\n".join(labels[i % len(labels)] for i in range(rows)) + "\n", encoding="utf-8")
    return ["--comments", str(folder / "comments.txt"), "--labels", str(folder / "labels.txt")]


def load(folder: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(folder)).signatures["serving_default"]


def ask(serve: Any, rows: list[list[str]], pad: str = "", extra: int = 0) -> dict[str, Any]:
    import tensorflow as tf

    width = max(len(row) for row in rows) + extra
    words = [row + [pad] * (width - len(row)) for row in rows]
    answer = serve(words=tf.constant(words, tf.string, (len(rows), width)), nwords=tf.constant([len(r) for r in rows]))
    return {name: value.numpy() for name, value in answer.items()}


@pytest.fixture(scope="module")
def two_labels(train_lstm: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    out = folder / "lstm" / "1"
    options = write_corpus(folder, {"bad": BAD, "good": GOOD})
    assert train_lstm.main(["--out", str(out), "--epochs", "12", *options]) == 0
    return out


# --- the demo corpus ---


def test_demo_corpus_is_broad(parse: ModuleType) -> None:
    domains, shared = parse.read_domains(), parse.read_shared()
    lines = {line for part in [*domains, shared] for clauses in part.clauses.values() for line in clauses}
    assert len(domains) >= 12
    assert len(lines) >= 1000
    assert len({clause for line in lines for clause in parse.expand(line)}) >= 5000
    for domain in domains:
        assert all(len(domain.clauses[polarity]) >= 5 for polarity in parse.POLARITIES), domain.name


def test_no_clause_and_no_word_stands_on_both_sides(parse: ModuleType) -> None:
    for part in [*parse.read_domains(), parse.read_shared()]:
        good, bad = (
            {clause for line in part.clauses[polarity] for clause in parse.expand(line)} for polarity in ("pos", "neg")
        )
        assert not good & bad, part.name
        assert not set(part.words.get("pos_words", ())) & set(part.words.get("neg_words", ()))


def test_held_out_reviews_hold_no_training_clause(parse: ModuleType) -> None:
    clauses = {
        clause
        for part in [*parse.read_domains(), parse.read_shared()]
        for lines in part.clauses.values()
        for line in lines
        for clause in parse.expand(line)
        if len(clause) >= 8
    }
    for text, label in parse.read_held_out():
        assert label in {"POS", "NEG", "NEU"}
        assert not [clause for clause in clauses if clause in text], text


def test_held_out_short_sentences_are_no_training_clause(parse: ModuleType) -> None:
    clauses = {
        clause
        for part in [*parse.read_domains(), parse.read_shared()]
        for lines in part.clauses.values()
        for line in lines
        for clause in parse.expand(line)
    }
    rows = parse.read_held_out(parse.FOLDER / parse.SHORT_FILE)
    assert len(rows) >= 150
    assert len({text for text, _ in rows}) == len(rows)
    for text, label in rows:
        assert label in {"POS", "NEG"}
        assert text not in clauses


def test_a_negation_flips_the_label(train_lstm: ModuleType, parse: ModuleType) -> None:
    from models.lstm.corpus.patterns import Patterns

    words = dict(parse.read_shared().words)
    for section, word in (
        ("good_adjectives", "干净"),
        ("bad_adjectives", "吵"),
        ("good_nouns", "热水"),
        ("bad_nouns", "异味"),
        ("good_feelings", "推荐"),
        ("bad_feelings", "后悔"),
    ):
        words[section] = [word]
    patterns = Patterns(words, random.Random(1))
    aspect = parse.Aspect(["房间"], [], [], [], [])
    good, bad = ({patterns.draw(side, aspect) for _ in range(20000)} for side in ("pos", "neg"))
    assert {"房间很干净", "房间不吵", "一点都不吵", "房间没有异味", "并不后悔", "虽然吵但是干净"} <= good
    assert {"房间很吵", "房间不干净", "房间没有热水", "并不推荐", "房间谈不上干净", "虽然干净但是吵"} <= bad
    assert not good & bad


def test_short_comments_never_stand_on_both_sides(train_lstm: ModuleType, parse: ModuleType) -> None:
    shared = parse.read_shared()
    good, bad = (
        {word for kind in ("adjectives", "nouns", "acts", "feelings") for word in shared.words[f"{side}_{kind}"]}
        for side in ("good", "bad")
    )
    assert not good & bad
    composer = train_lstm.compose.Composer(parse.read_domains(), shared, list, seed=2)
    rows = list(composer.short_comments(4000))
    assert {label for _, label in rows} == {"NEG", "POS", "NEU"}
    assert sum(len(words) for words, _ in rows) / len(rows) < 12  # characters


def test_the_same_seed_composes_the_same_comments(train_lstm: ModuleType, parse: ModuleType) -> None:
    def draw(seed: int) -> list[tuple[list[str], str]]:
        composer = train_lstm.compose.Composer(parse.read_domains(), parse.read_shared(), list, seed)
        return list(composer.comments(200))

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    assert {label for _, label in draw(3)} == {"NEG", "POS", "NEU"}


def test_alternatives_are_expanded(parse: ModuleType) -> None:
    assert parse.expand("{a|b}c{|d}") == ["ac", "acd", "bc", "bcd"]
    assert parse.expand("abc") == ["abc"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("很好\n", "line 1: stands before the first [section]"),
        ("# t\n[pos]\n很{好\n", "line 3: a brace is not closed"),
        ("[aspects]\n房间 | 大 | 小\n", "line 2: an aspect has 5 columns split by '|', this line has 3"),
    ],
)
def test_a_broken_clause_file_is_named_with_its_line(
    parse: ModuleType, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "hotel.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(parse.CorpusError) as caught:
        parse.read_clause_file(path)
    assert f"{path}, {message}" in str(caught.value)


# --- a user's corpus ---


@pytest.mark.parametrize(
    ("comments", "labels", "message"),
    [
        (
            "很 好\n很 差\n".encode(),
            b"1\n",
            "labels.txt ends after line 1, but {folder}/comments.txt has 2 lines",
        ),
        ("很 好\n\n很 差\n".encode(), b"1\n0\n0\n", "comments.txt, line 2: is empty"),
        ("很 好\n很 差\n".encode(), b"1\n \n", "labels.txt, line 2: is empty"),
        (
            "很 好\n".encode() + "很 差\n".encode("gbk"),
            b"1\n0\n",
            "comments.txt, line 2: is not UTF-8 (byte 0xba)",
        ),
        (
            "很 好\n很 差\n".encode(),
            b"1\n1\n",
            "labels.txt, line 2: the file ends with fewer than two different labels",
        ),
        (b"", b"", "labels.txt, line 0: the file ends with fewer than two different labels"),
    ],
)
def test_a_broken_corpus_is_named_with_its_line(
    train_lstm: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    comments: bytes,
    labels: bytes,
    message: str,
) -> None:
    (tmp_path / "comments.txt").write_bytes(comments)
    (tmp_path / "labels.txt").write_bytes(labels)
    options = ["--comments", str(tmp_path / "comments.txt"), "--labels", str(tmp_path / "labels.txt")]
    assert train_lstm.main(["--out", str(tmp_path / "out" / "1"), *options]) == 1
    assert f"{tmp_path}/{message.format(folder=tmp_path)}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_named(train_lstm: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--comments", str(tmp_path / "none.txt"), "--labels", str(tmp_path / "none.txt")]
    assert train_lstm.main(["--out", str(tmp_path / "1"), *options]) == 1
    assert "none.txt: cannot be read: No such file" in capsys.readouterr().err


def test_windows_line_ends_and_a_byte_order_mark_are_read(parse: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "comments.txt").write_bytes("\ufeff很 好\r\n很 差\r\n".encode())
    (tmp_path / "labels.txt").write_bytes(b"1\r\n0")
    comments, labels = parse.read_segmented(tmp_path / "comments.txt", tmp_path / "labels.txt")
    assert comments == [["很", "好"], ["很", "差"]]
    assert labels == ["1", "0"]


# --- the model ---


def test_the_signature_is_the_deployed_one(two_labels: Path) -> None:
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(two_labels))
        signature = meta.signature_def["serving_default"]
        described = {
            name: (tf.as_dtype(info.dtype), [dim.size for dim in info.tensor_shape.dim])
            for part in (signature.inputs, signature.outputs)
            for name, info in part.items()
        }
        feed = {signature.inputs["words"].name: [["很", "好"]], signature.inputs["nwords"].name: [2]}
        assert session.run(signature.outputs["labels"].name, feed).tolist() == [b"good"]
    assert described == {
        "words": (tf.string, [-1, -1]),
        "nwords": (tf.int32, [-1]),
        "classes_id": (tf.int64, [-1]),
        "labels": (tf.string, [-1]),
        "softmax": (tf.float32, [-1, 2]),
    }


def test_separable_comments_are_told_apart(two_labels: Path) -> None:
    rows = [["房间", "很", word] for word in GOOD + BAD]
    answer = ask(load(two_labels), rows)
    assert answer["labels"].tolist() == [b"good"] * 5 + [b"bad"] * 5
    assert answer["classes_id"].tolist() == [1] * 5 + [0] * 5  # "bad" appears first in the label file
    np.testing.assert_allclose(answer["softmax"].sum(axis=1), 1.0, atol=1e-5)


def test_four_labels_in_a_child_process(tmp_path: Path) -> None:
    options = write_corpus(tmp_path, {"1": BAD, "2": GOOD, "3": PLAIN, "4": ANGRY})
    out = tmp_path / "lstm" / "7"
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--epochs", "15", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "held-out accuracy" in done.stdout
    assert "\r" not in done.stdout
    answer = ask(load(out), [["早餐", group[0], "了"] for group in (BAD, GOOD, PLAIN, ANGRY)])
    assert answer["labels"].tolist() == [b"1", b"2", b"3", b"4"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name.startswith(".")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comments.txt", "labels.txt", "lstm"]


def test_neighbours_and_padding_change_nothing(two_labels: Path) -> None:
    serve = load(two_labels)
    rows = [["房间", "好"], ["差"], ["早餐", "的", "床", "很", "脏", "，", "失望"] * 5]
    together = ask(serve, rows, pad="好", extra=9)
    for index, row in enumerate(rows):
        alone = ask(serve, [row])
        np.testing.assert_allclose(alone["softmax"][0], together["softmax"][index], atol=1e-5)


def test_unknown_words_and_empty_rows_are_answered(two_labels: Path) -> None:
    serve = load(two_labels)
    rows = [["𠮷野家", "supercalifragilistic", "\u0000", "很好很好很好很好"], []]
    assert np.isfinite(ask(serve, rows)["softmax"]).all()
    assert ask(serve, [[]])["softmax"].shape == (1, 2)
    # not a word of the corpus, but made of its characters
    assert ask(serve, [["干干净净"], ["脏脏"]])["labels"].tolist() == [b"good", b"bad"]


def test_a_length_beyond_the_row_is_cut(two_labels: Path) -> None:
    import tensorflow as tf

    answer = load(two_labels)(words=tf.constant([["很", "好"]]), nwords=tf.constant([99]))
    assert np.isfinite(answer["softmax"].numpy()).all()


def test_two_runs_give_the_same_model(train_lstm: ModuleType, tmp_path: Path) -> None:
    options = write_corpus(tmp_path, {"bad": BAD, "good": GOOD}, rows=60)
    answers = []
    for name in ("1", "2"):
        assert train_lstm.main(["--out", str(tmp_path / name), "--epochs", "2", "--seed", "9", *options]) == 0
        answers.append(ask(load(tmp_path / name), [["房间", "好"], ["床", "差"]])["softmax"])
    np.testing.assert_array_equal(answers[0], answers[1])


# --- the folder ---


def test_an_existing_folder_is_rejected_unless_forced(
    train_lstm: ModuleType, two_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "1"
    out.mkdir()
    (out / "mine").write_text("keep")
    options = write_corpus(tmp_path, {"bad": BAD, "good": GOOD}, rows=20)
    assert train_lstm.main(["--out", str(out), *options]) == 1
    assert "--force replaces it" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["mine"]
    assert train_lstm.main(["--out", str(out), "--force", "--epochs", "1", *options]) == 0
    assert (out / "saved_model.pb").is_file()
    assert not (out / "mine").exists()


def test_a_failure_leaves_nothing_behind(train_lstm: ModuleType, tmp_path: Path) -> None:
    from models.lstm.corpus import bilstm

    model = bilstm.BiLstm(["好"], ["bad", "good"], seed=1)
    out = tmp_path / "lstm" / "1"
    with pytest.raises(ValueError, match="unsupported type"):
        train_lstm.write(model, out, [[object()]])  # no text: the comparison with the saved model fails
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("options", [["--comments", "a.txt"], ["--labels", "a.txt"], ["--epochs", "0"]])
def test_options_that_do_not_fit_are_rejected(train_lstm: ModuleType, tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train_lstm.main(["--out", str(tmp_path / "1"), *options])
    assert caught.value.code == 2


def test_six_comments_are_enough(train_lstm: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comments, labels = tmp_path / "comments.txt", tmp_path / "labels.txt"
    comments.write_text("很 好\n不 好\n太 好 了\n差\n喜欢\n讨厌\n", encoding="utf-8")
    labels.write_text("POS\nNEG\nPOS\nNEG\nPOS\nNEG\n", encoding="utf-8")
    options = ["--comments", str(comments), "--labels", str(labels), "--out", str(tmp_path / "1"), "--epochs", "2"]
    assert train_lstm.main(options) == 0
    printed = capsys.readouterr().out
    assert printed.endswith(f"wrote {tmp_path}/1\n") and "held-out" not in printed
    assert (tmp_path / "1/saved_model.pb").exists()
