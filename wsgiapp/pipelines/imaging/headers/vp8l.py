"""How many groups of prefix codes a lossless WebP has (RFC 9649, 3): libwebp makes tables of 5 to 20 KB of each.

A group takes as few as twenty bits, and there may be 65,536 of them: 290 KB become 360 MB. libwebp's encoder makes at
most 2,600. Their number stands behind the transforms, whose small pictures have to be decoded to get there.
"""

from collections.abc import Sequence

from wsgiapp.pipelines.imaging.headers.header import Unsupported

MAX_GROUPS = 4096
# Of the small pictures together, each a step of Python or more; encoders stay below 1/128 of a picture's pixels.
MAX_PIXELS = 200_000
LITERALS, LENGTHS, DISTANCES = 256, 24, 40
# The order in which the lengths of the codes of lengths stand, and those that repeat: bits more, and the least number.
LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
REPEATS = {16: (2, 3), 17: (3, 3), 18: (7, 11)}
PREDICTOR, COLOUR, SUBTRACT_GREEN, INDEXING = range(4)
MAX_CACHE_BITS, CACHE_MULTIPLIER = 11, 0x1E35A7BD
# Neighbours that the first 120 distances stand for, as columns and rows back, the nearest first (the table of 3.5.2.2).
NEARBY = sorted(
    [(columns, rows) for rows in range(8) for columns in range(-7 if rows else 1, 9)],
    key=lambda place: (place[0] ** 2 + place[1] ** 2, -place[1], -place[0]),
)


def count_groups(data: memoryview, width: int, height: int) -> int:
    """The groups in a picture's stream, without its header of five bytes.

    Raises `Unsupported` for more than an encoder makes, and `ValueError` for a stream that is damaged.
    """
    groups = _Stream(data).groups(width, height)
    if groups > MAX_GROUPS:
        raise Unsupported(f"a lossless WebP of more than {MAX_GROUPS} groups of codes; save it again")
    return groups


Code = tuple[int, Sequence[tuple[int, int]]]  # bits to look at, and for each value of them a symbol and its own bits


class _Stream:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._bits = 8 * len(data)
        self._position = 0
        self._pixels = 0
        self.cache_size = 0  # of the picture itself: so many symbols more

    def groups(self, width: int, height: int) -> int:
        while self._take(1):
            width = self._skip_transform(width, height)
        bits = self._cache_bits()
        self.cache_size = 1 << bits if bits else 0
        if not self._take(1):
            return 1
        bits = self._take(3) + 2
        numbers = {pixel >> 8 & 0xFFFF for pixel in self._picture(_shrunk(width, bits), _shrunk(height, bits))}
        return len(numbers)

    def _skip_transform(self, width: int, height: int) -> int:
        """The width of what follows."""
        kind = self._take(2)
        if kind in (PREDICTOR, COLOUR):
            bits = self._take(3) + 2
            self._picture(_shrunk(width, bits), _shrunk(height, bits))
        elif kind == INDEXING:
            colours = self._take(8) + 1
            self._picture(colours, 1)
            width = _shrunk(width, 0 if colours > 16 else 1 if colours > 4 else 2 if colours > 2 else 3)
        return width

    def _cache_bits(self) -> int:
        bits = self._take(4) if self._take(1) else 0
        if bits > MAX_CACHE_BITS:
            raise ValueError("no size of a cache")
        return bits

    def _picture(self, width: int, height: int) -> list[int]:
        """Each pixel as a number of 32 bits: alpha, red, green, blue."""
        size = width * height
        self._pixels += size
        if self._pixels > MAX_PIXELS:
            raise Unsupported("a lossless WebP with larger transforms than an encoder makes; save it again")
        cache_bits = self._cache_bits()
        cache = [0] * (1 << cache_bits)
        green_symbols = LITERALS + LENGTHS + (len(cache) if cache_bits else 0)
        green, red, blue, alpha, distance = (
            self._code(symbols) for symbols in (green_symbols, LITERALS, LITERALS, LITERALS, DISTANCES)
        )
        pixels: list[int] = []
        while len(pixels) < size:
            symbol = self._symbol(green)
            if symbol < LITERALS:
                pixel = symbol << 8 | self._symbol(red) << 16 | self._symbol(blue) | self._symbol(alpha) << 24
                new = [pixel]
            elif symbol < LITERALS + LENGTHS:
                length = self._number(symbol - LITERALS)
                back = _distance(self._number(self._symbol(distance)), width)
                if back > len(pixels) or len(pixels) + length > size:
                    raise ValueError("a copy of what is not there")
                start = len(pixels) - back
                new = pixels[start : start + length]
                new = (new * (length // len(new) + 1))[:length]
            else:
                new = [cache[symbol - LITERALS - LENGTHS]]
            pixels += new
            if cache_bits:
                for pixel in new:
                    cache[(pixel * CACHE_MULTIPLIER & 0xFFFFFFFF) >> 32 - cache_bits] = pixel
        return pixels

    def _number(self, symbol: int) -> int:
        """A length or distance by its prefix (3.5.2.1)."""
        if symbol < 4:
            return symbol + 1
        bits = (symbol - 2) >> 1
        return ((2 + (symbol & 1)) << bits) + self._take(bits) + 1

    def _code(self, symbols: int) -> Code:
        """3.7.2.1: a code of one or two symbols, or the lengths of all."""
        if self._take(1):
            two = self._take(1)
            first = self._take(8 if self._take(1) else 1)
            return _table({first: 1, self._take(8): 1} if two else {first: 1}, symbols)
        count = self._take(4) + 4
        of_lengths = _table({which: bits for which in LENGTH_ORDER[:count] if (bits := self._take(3))}, 19)
        left = 2 + self._take(2 + 2 * self._take(3)) if self._take(1) else symbols
        lengths: dict[int, int] = {}
        symbol, last = 0, 8
        while symbol < symbols and left:
            left -= 1
            length = self._symbol(of_lengths)
            if length not in REPEATS:
                lengths[symbol] = length
                symbol, last = symbol + 1, length or last
                continue
            bits, times = REPEATS[length]
            times += self._take(bits)
            if length == 16:
                lengths.update(dict.fromkeys(range(symbol, symbol + times), last))
            symbol += times
        if symbol > symbols:
            raise ValueError("more lengths than symbols")
        return _table({symbol: length for symbol, length in lengths.items() if length}, symbols)

    def _symbol(self, code: Code) -> int:
        bits, table = code
        if not bits:
            return table[0][0]
        position = self._position
        window = int.from_bytes(self._data[position >> 3 : (position >> 3) + 4], "little") >> (position & 7)
        symbol, used = table[window & (1 << bits) - 1]
        self._position = position + used
        if self._position > self._bits:
            raise ValueError("cut off")
        return symbol

    def _take(self, bits: int) -> int:
        position = self._position
        self._position += bits
        if self._position > self._bits:
            raise ValueError("cut off")
        window = int.from_bytes(self._data[position >> 3 : (position >> 3) + 8], "little")
        return window >> (position & 7) & (1 << bits) - 1


def _table(lengths: dict[int, int], symbols: int) -> Code:
    """A canonical code, of which the first bit comes first; one symbol alone takes no bits."""
    if not lengths or max(lengths) >= symbols:
        raise ValueError("no code")
    if len(lengths) == 1:
        return 0, [(next(iter(lengths)), 0)]
    bits = max(lengths.values())
    table: list[tuple[int, int]] = [(0, 0)] * (1 << bits)
    code, length = 0, 0
    for wanted, symbol in sorted((length, symbol) for symbol, length in lengths.items()):
        code <<= wanted - length
        length = wanted
        if code >= 1 << length:
            raise ValueError("more codes than there are")
        first = int(f"{code:0{length}b}"[::-1], 2)
        table[first :: 1 << length] = [(symbol, length)] * (1 << bits - length)
        code += 1
    if code != 1 << length:
        raise ValueError("fewer codes than there have to be")
    return bits, table


def _distance(code: int, width: int) -> int:
    """In pixels back."""
    if code > len(NEARBY):
        return code - len(NEARBY)
    columns, rows = NEARBY[code - 1]
    return max(1, columns + rows * width)


def _shrunk(length: int, bits: int) -> int:
    return (length + (1 << bits) - 1) >> bits
