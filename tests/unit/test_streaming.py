"""Streaming encryption: Tink reads what we write, we read what Tink writes, and nothing altered is ever served."""

import io
import os
import tracemalloc

import pytest
import tink
from hypothesis import given, settings
from hypothesis import strategies as st
from tink import cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from mespieces.gateways import streaming

KEY = bytes(range(32))
ASSOCIATED = b"mespieces/document/1"
FIRST = streaming.ROOM - streaming.HEADER
SIZES = [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + streaming.ROOM - 1, FIRST + streaming.ROOM]
SIZES += [FIRST + streaming.ROOM + 1, 3 * streaming.SEGMENT]


class Undying(io.BytesIO):
    """Keeps its bytes when Tink closes it."""

    def close(self):
        pass


def tink_primitive(key=KEY):
    streaming_aead.register()
    parameters = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
        ciphertext_segment_size=1 << 20, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
    )
    value = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, params=parameters, key_value=key)
    keyset = tink_pb2.Keyset(primary_key_id=1)
    keyset.key.add(
        key_data=tink_pb2.KeyData(
            type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
            value=value.SerializeToString(),
            key_material_type=tink_pb2.KeyData.SYMMETRIC,
        ),
        status=tink_pb2.ENABLED,
        key_id=1,
        output_prefix_type=tink_pb2.RAW,
    )
    handle = cleartext_keyset_handle.read(tink.BinaryKeysetReader(keyset.SerializeToString()))
    return handle.primitive(streaming_aead.StreamingAead)


def sealed(plain, key=KEY, associated=ASSOCIATED, step=1 << 18):
    target = io.BytesIO()
    writer = streaming.Writer(target, key, associated)
    for start in range(0, len(plain), step):
        writer.write(plain[start : start + step])
    writer.finish()
    return target.getvalue()


def opened(data, key=KEY, associated=ASSOCIATED):
    return streaming.Reader(io.BytesIO(data), key, associated)


def read(data, **changed):
    return b"".join(opened(data, **changed).chunks())


@pytest.mark.parametrize("size", SIZES)
def test_tink_reads_what_we_write(size):
    plain = os.urandom(size)

    with tink_primitive().new_decrypting_stream(io.BytesIO(sealed(plain)), ASSOCIATED) as stream:
        assert stream.read() == plain


@pytest.mark.parametrize("size", SIZES)
def test_we_read_what_tink_writes(size):
    plain = os.urandom(size)
    target = Undying()
    with tink_primitive().new_encrypting_stream(target, ASSOCIATED) as stream:
        stream.write(plain)

    assert opened(target.getvalue()).size == size
    assert read(target.getvalue()) == plain


@pytest.mark.parametrize("size", SIZES)
def test_a_sealed_stream_has_the_size_tink_gives_it(size):
    target = Undying()
    with tink_primitive().new_encrypting_stream(target, ASSOCIATED) as stream:
        stream.write(bytes(size))

    assert len(sealed(bytes(size))) == len(target.getvalue())


def test_the_pieces_in_which_a_plaintext_arrives_do_not_matter():
    plain = os.urandom(2 * streaming.SEGMENT + 12345)

    for step in [4093, streaming.SEGMENT, FIRST, 1 << 30]:
        assert read(sealed(plain, step=step)) == plain


def test_the_same_plaintext_never_gives_the_same_bytes():
    assert sealed(b"data")[1:] != sealed(b"data")[1:]


LONG = os.urandom(2 * streaming.SEGMENT + 1000)
LONG_SEALED = sealed(LONG)
SHORT_SEALED = sealed(b"a short secret")


@given(st.integers(0, len(LONG) + 10), st.integers(0, 3000))
@settings(max_examples=60, deadline=None)
def test_any_part_is_read_at_random(offset, length):
    assert opened(LONG_SEALED).read_at(offset, length) == LONG[offset : offset + length]


@pytest.mark.parametrize("boundary", [0, FIRST, FIRST + streaming.ROOM, len(LONG)])
def test_parts_around_a_segment_boundary_are_exact(boundary):
    reader = opened(LONG_SEALED)
    for start in range(max(0, boundary - 2), boundary + 3):
        for length in [0, 1, 2, 5, streaming.SEGMENT]:
            assert reader.read_at(start, length) == LONG[start : start + length]


def test_chunks_are_small_and_meet_their_bounds():
    chunks = list(opened(LONG_SEALED).chunks(10, len(LONG) - 10))

    assert b"".join(chunks) == LONG[10:-10]
    assert max(map(len, chunks)) <= streaming.SEGMENT


def test_nothing_is_before_the_first_byte():
    with pytest.raises(ValueError, match="before its first"):
        opened(LONG_SEALED).read_at(-1, 2)


TRUNCATIONS = [0, 1, 20, 39, 40, 41, 55, 56, 57, streaming.SEGMENT - 1, streaming.SEGMENT, streaming.SEGMENT + 1]
TRUNCATIONS += [streaming.SEGMENT + 15, streaming.SEGMENT + 16, streaming.SEGMENT + 17, 2 * streaming.SEGMENT]
TRUNCATIONS += [len(LONG_SEALED) - 17, len(LONG_SEALED) - 1]


@pytest.mark.parametrize("kept", TRUNCATIONS)
def test_a_truncated_stream_is_refused_before_its_first_byte(kept):
    with pytest.raises(streaming.Corrupted):
        opened(LONG_SEALED[:kept])


@pytest.mark.parametrize("added", [1, 15, 16, 17, streaming.SEGMENT])
def test_a_lengthened_stream_is_refused_before_its_first_byte(added):
    with pytest.raises(streaming.Corrupted):
        opened(LONG_SEALED + bytes(added))


FLIPS = {
    "header length": 0,
    "salt": 1,
    "end of the salt": 32,
    "nonce prefix": 33,
    "end of the nonce prefix": 39,
    "first byte": 40,
    "first tag": streaming.SEGMENT - 1,
    "second segment": streaming.SEGMENT,
    "second tag": 2 * streaming.SEGMENT - 16,
    "last segment": 2 * streaming.SEGMENT,
    "last tag": len(LONG_SEALED) - 1,
}


@pytest.mark.parametrize("where", FLIPS.values(), ids=FLIPS)
@pytest.mark.parametrize("bit", [0, 7])
def test_one_altered_bit_anywhere_is_noticed(where, bit):
    altered = bytearray(LONG_SEALED)
    altered[where] ^= 1 << bit

    with pytest.raises(streaming.Corrupted):
        read(bytes(altered))


@given(st.integers(0, len(SHORT_SEALED) * 8 - 1))
@settings(max_examples=200, deadline=None)
def test_no_bit_of_a_short_stream_can_change(position):
    altered = bytearray(SHORT_SEALED)
    altered[position // 8] ^= 1 << position % 8

    with pytest.raises(streaming.Corrupted):
        read(bytes(altered))


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_bytes_from_elsewhere_are_refused(data):
    with pytest.raises(streaming.Corrupted):
        opened(data)


def test_a_segment_altered_in_the_middle_spares_the_others():
    altered = bytearray(LONG_SEALED)
    altered[streaming.SEGMENT + 5] ^= 1
    reader = opened(bytes(altered))

    assert reader.read_at(0, 100) == LONG[:100]
    with pytest.raises(streaming.Corrupted):
        reader.read_at(FIRST, 1)


def test_segments_cannot_change_places():
    plain = os.urandom(3 * streaming.SEGMENT)
    data = sealed(plain)
    cut = streaming.SEGMENT
    swapped = data[:cut] + data[2 * cut : 3 * cut] + data[cut : 2 * cut] + data[3 * cut :]

    with pytest.raises(streaming.Corrupted):
        read(swapped)


def test_a_segment_cannot_be_left_out():
    cut = streaming.SEGMENT

    with pytest.raises(streaming.Corrupted):
        opened(LONG_SEALED[:cut] + LONG_SEALED[2 * cut :])


def test_the_end_of_another_stream_under_the_same_key_does_not_fit():
    other = sealed(LONG)

    with pytest.raises(streaming.Corrupted):
        opened(LONG_SEALED[: 2 * streaming.SEGMENT] + other[2 * streaming.SEGMENT :])


@pytest.mark.parametrize("changed", [{"key": bytes(32)}, {"associated": b"mespieces/document/2"}, {"associated": b""}])
def test_another_key_or_another_document_does_not_open_it(changed):
    with pytest.raises(streaming.Corrupted):
        opened(SHORT_SEALED, **changed)


def test_a_file_shortened_while_it_is_read_is_noticed():
    raw = io.BytesIO(LONG_SEALED)
    reader = streaming.Reader(raw, KEY, ASSOCIATED)
    raw.truncate(streaming.SEGMENT + 100)

    with pytest.raises(streaming.Corrupted):
        reader.read_at(FIRST, 10)


def test_a_source_that_gives_little_at_a_time_is_read_whole():
    class Slow(io.BytesIO):
        def read(self, size=-1, /):
            return super().read(min(size, 65_521) if size >= 0 else 65_521)

    assert b"".join(streaming.Reader(Slow(LONG_SEALED), KEY, ASSOCIATED).chunks()) == LONG


def test_a_stream_that_failed_while_writing_never_gets_its_end():
    class Full(io.BytesIO):
        def write(self, data, /):
            if self.tell() > streaming.SEGMENT:
                raise OSError(28, "No space left on device")
            return super().write(data)

    target = Full()
    writer = streaming.Writer(target, KEY, ASSOCIATED)
    with pytest.raises(OSError, match="No space"):
        writer.write(bytes(4 * streaming.SEGMENT))

    with pytest.raises(ValueError, match="failed"):
        writer.finish()
    with pytest.raises(streaming.Corrupted):
        opened(target.getvalue())


def test_a_finished_stream_takes_nothing_more():
    writer = streaming.Writer(io.BytesIO(), KEY, ASSOCIATED)
    writer.finish()

    with pytest.raises(ValueError, match="finished"):
        writer.write(b"more")
    with pytest.raises(ValueError, match="finished"):
        writer.finish()


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        streaming.Writer(io.BytesIO(), bytes(16), ASSOCIATED)


def test_64_mib_are_sealed_and_read_in_constant_memory(tmp_path):
    path, block = tmp_path / "sealed", bytes(1 << 18)

    tracemalloc.start()
    try:
        with path.open("wb") as target:
            writer = streaming.Writer(target, KEY, ASSOCIATED)
            for _ in range(256):
                writer.write(block)
            writer.finish()
        with path.open("rb") as raw:
            total = sum(len(chunk) for chunk in streaming.Reader(raw, KEY, ASSOCIATED).chunks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert total == 64 << 20
    assert peak < 12 << 20
