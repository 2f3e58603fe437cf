"""Rows joined into one call and split again: every request gets back what it sent, and nothing of its neighbours."""

import random

import numpy as np
import pytest

from wsgiapp.errors import InternalError
from wsgiapp.inference import rows
from wsgiapp.inference.rows import Arrays

PADDING = {"words": b"", "ids": -1, "scores": 0.5}


def words(*texts: list[bytes]) -> np.ndarray:
    array = np.full((len(texts), max(map(len, texts))), b"", object)
    for i, text in enumerate(texts):
        array[i, : len(text)] = text
    return array


def test_requests_of_different_lengths_share_a_call() -> None:
    short = {"words": words([b"a"]), "nwords": np.array([1], np.int32)}
    several = {"words": words([b"b", b"c", b"d"], [b"e"]), "nwords": np.array([3, 1], np.int32)}
    joined = rows.join([short, several], PADDING)
    assert joined["words"].tolist() == [[b"a", b"", b""], [b"b", b"c", b"d"], [b"e", b"", b""]]
    assert joined["nwords"].tolist() == [1, 3, 1] and joined["nwords"].dtype == np.int32


def test_one_request_is_its_own_call() -> None:
    alone = {"words": words([b"a"])}
    assert rows.join([alone], PADDING) is alone


def random_requests(rng: random.Random) -> list[Arrays]:
    """Requests of one layout: inputs of every dtype, padded or not, of one to five rows, and 0 to 6 steps."""
    generator = np.random.default_rng(rng.randrange(2**32))
    inner = {name: tuple(rng.choices([1, 2, 3], k=rng.randint(0, 2))) for name in ("scores", "pixels")}
    requests = []
    for _ in range(rng.randint(1, 12)):
        count, steps = rng.randint(1, 5), rng.randint(0, 6)
        texts = [[bytes(rng.choices(b"ab\0\xff", k=rng.randint(0, 9))) for _ in range(steps)] for _ in range(count)]
        requests.append(
            {
                "words": words(*texts) if steps else np.empty((count, 0), object),
                "ids": generator.integers(0, 9, (count, steps), np.int32),
                "scores": generator.random((count, steps, *inner["scores"]), np.float32),
                "pixels": generator.random((count, *inner["pixels"]), np.float32),
                "nwords": np.full(count, steps, np.int32),
            }
        )
    return requests


@pytest.mark.parametrize("seed", range(40))
def test_what_is_joined_is_split_again(seed: int) -> None:
    requests = random_requests(random.Random(seed))
    assert len({rows.form(request, PADDING).layout for request in requests}) == 1
    counts = [rows.form(request, PADDING).rows for request in requests]
    joined = rows.join(requests, PADDING)
    assert rows.form(joined, PADDING).rows == sum(counts)
    widest = max(rows.form(request, PADDING).width for request in requests)
    assert rows.form(joined, PADDING).width == widest
    for request, part in zip(requests, rows.split(joined, counts), strict=True):
        assert list(part) == list(request)
        for name, sent in request.items():
            back = part[name]
            assert back.dtype == sent.dtype
            if name in PADDING:
                assert back.shape[1] == widest
                assert (back[:, sent.shape[1] :] == PADDING[name]).all()
                back = back[:, : sent.shape[1]]
            np.testing.assert_array_equal(back, sent)


@pytest.mark.parametrize(
    ("dtype", "value"), [("S", b""), ("U", "")], ids=["bytes of a fixed size", "text of a fixed size"]
)
@pytest.mark.parametrize("padded", [True, False])
def test_the_longest_string_decides_for_all(dtype: str, value: bytes | str, padded: bool) -> None:
    short, long = np.array([["a"]], dtype), np.array([["abc", "defgh"]] if padded else [["abcde"]], dtype)
    padding = {"x": value} if padded else {}
    assert rows.form({"x": short}, padding).layout == rows.form({"x": long}, padding).layout
    for order in ([short, long], [long, short]):
        joined = rows.join([{"x": array} for array in order], padding)["x"]
        for i, array in enumerate(order):
            assert joined[i, : array.shape[1]].tolist() == array[0].tolist()


# Two requests that could be one call, and what keeps others from it.
BASE = {"words": ((2, 3), object), "nwords": ((2,), np.int32), "image": ((2, 4, 4, 3), np.float32)}
ALIKE = {
    "another number of rows": {"words": ((5, 3), object), "nwords": ((5,), np.int32), "image": ((5, 4, 4, 3), "f4")},
    "longer texts": {**BASE, "words": ((2, 9), object)},
    "no text at all": {**BASE, "words": ((2, 0), object)},
}
DIFFERENT = {
    "another dtype": {**BASE, "nwords": ((2,), np.int64)},
    "another size": {**BASE, "image": ((2, 4, 5, 3), np.float32)},
    "an axis more": {**BASE, "nwords": ((2, 1), np.int32)},
    "an axis more behind the padded one": {**BASE, "words": ((2, 3, 1), object)},
    "an input less": {name: BASE[name] for name in ("words", "nwords")},
    "an input more": {**BASE, "more": ((2,), np.int32)},
    "another name": {"words": BASE["words"], "n": BASE["nwords"], "image": BASE["image"]},
}


def zeros(shapes: dict[str, tuple]) -> Arrays:
    return {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}


@pytest.mark.parametrize("other", ALIKE.values(), ids=ALIKE)
def test_layouts_that_are_alike(other: dict[str, tuple]) -> None:
    assert rows.form(zeros(BASE), PADDING).layout == rows.form(zeros(other), PADDING).layout
    assert (
        rows.form(rows.join([zeros(BASE), zeros(other)], PADDING), PADDING).rows
        == 2 + rows.form(zeros(other), PADDING).rows
    )


@pytest.mark.parametrize("other", DIFFERENT.values(), ids=DIFFERENT)
def test_layouts_that_are_not(other: dict[str, tuple]) -> None:
    assert rows.form(zeros(BASE), PADDING).layout != rows.form(zeros(other), PADDING).layout


@pytest.mark.parametrize("seed", range(20))
def test_layouts_are_equal_exactly_when_numpy_can_put_them_together(seed: int) -> None:
    """Without padding the rule is `np.concatenate`'s, and the dtype stays what each request sent."""
    rng = random.Random(seed)
    arrays = [
        np.zeros((rng.randint(1, 3), *rng.choices([1, 2], k=rng.randint(0, 2))), rng.choice(["f4", "i4"]))
        for _ in range(12)
    ]
    for one in arrays:
        for other in arrays:
            try:
                fits = np.concatenate([one, other]).dtype == one.dtype == other.dtype
            except ValueError:
                fits = False
            assert (rows.form({"x": one}, {}).layout == rows.form({"x": other}, {}).layout) == fits


@pytest.mark.parametrize(
    ("inputs", "count"),
    [
        ({"a": np.zeros((3, 2)), "b": np.zeros(3)}, 3),
        ({"a": np.zeros((3, 2)), "b": np.zeros(2)}, 0),
        ({"a": np.zeros((3, 2)), "b": np.float32(1)}, 0),
        ({"a": np.float32(1)}, 0),
        ({"a": np.zeros((0, 2))}, 0),
        ({}, 0),
    ],
    ids=["rows", "not the same number", "a scalar beside rows", "a scalar", "no rows", "no inputs"],
)
def test_the_rows_of_a_request(inputs: Arrays, count: int) -> None:
    assert rows.form(inputs, PADDING).rows == count


def test_the_width_is_the_longest_padded_axis() -> None:
    assert (
        rows.form({"words": np.zeros((2, 7)), "ids": np.zeros((2, 9)), "image": np.zeros((2, 50))}, PADDING).width == 9
    )
    assert rows.form({"image": np.zeros((2, 50))}, PADDING).width == 1


@pytest.mark.parametrize("array", [np.zeros(2), np.zeros((4, 3)), np.float32(1)], ids=["fewer", "more", "scalar"])
def test_outputs_without_a_row_for_each(array: np.ndarray) -> None:
    outputs = {"right": np.zeros((3, 5)), "wrong": np.asarray(array)}
    with pytest.raises(InternalError, match=r"the output wrong has the shape \[.*\], not a row for each of 3"):
        rows.split(outputs, [1, 2])


def test_parts_are_views() -> None:
    output = np.arange(6.0)
    first, second = rows.split({"y": output}, [2, 4])
    assert first["y"].base is output and second["y"].tolist() == [2, 3, 4, 5]
