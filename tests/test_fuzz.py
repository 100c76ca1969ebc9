"""Any bytes at all, and good ones with some changed, given to every parser of ours."""

import fuzzing
import pytest
from hypothesis import given
from hypothesis import strategies as st

SEEDS = fuzzing.seeds()
WORDS = [
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"NaN", b"1e999", b"-1", b"true"),
    *(b'"shape"', b'"chunks"', b'"codecs"', b'"phase"', b'"centers"', b'"__proto__"', b"\x00"),
    *(b"99999999999999999999", b"0", b"..", b"=", b"\xff\xfe", b"\x1b[2J", "\u202e".encode()),
]


@st.composite
def damaged(draw, parser):
    """One of the good inputs, some of it cut out, doubled, or put in."""
    data = bytearray(draw(st.sampled_from(SEEDS[parser])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        data[at:end] = draw(st.sampled_from(WORDS) | st.binary(max_size=6))
    return bytes(data)


@pytest.mark.filterwarnings("ignore")  # of zarr, at what it does not know
@pytest.mark.parametrize("parser", fuzzing.PARSERS)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(parser, data):
    fuzzing.PARSERS[parser](data.draw(damaged(parser) | st.binary(max_size=80)))


@pytest.mark.parametrize("parser", fuzzing.PARSERS)
def test_good_input_is_read(parser):
    for seed in SEEDS[parser]:
        fuzzing.PARSERS[parser](seed)
