import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import Undecodable
from penstock.model.batch import ReadingBatch
from penstock.stream.record import decode_batch, encode_batch
from stream.readings import any_batch, content, plain


@given(any_batch())
def test_a_record_gives_back_every_bit(batch: ReadingBatch):
    assert content(decode_batch(encode_batch(batch))) == content(batch)


@given(any_batch(), st.data())
def test_a_record_with_any_bit_turned_is_refused(batch: ReadingBatch, data: st.DataObject):
    record = bytearray(encode_batch(batch))
    record[data.draw(st.integers(0, len(record) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Undecodable):
        decode_batch(bytes(record))


@given(any_batch(), st.data())
def test_a_record_cut_short_is_refused(batch: ReadingBatch, data: st.DataObject):
    record = encode_batch(batch)
    with pytest.raises(Undecodable):
        decode_batch(record[: data.draw(st.integers(0, len(record) - 1))])


def test_uniform_columns_take_no_room():
    # tag, ts, value of three tags: ts is a ramp, tag 4 bytes and value 8 bytes a reading
    assert len(encode_batch(plain(1_000))) < 12 * 1_000 + 150


def test_a_picked_part_of_a_batch_keeps_its_places_in_the_request():
    odd = plain(10).pick(plain(10).index % 2 == 1)
    assert decode_batch(encode_batch(odd)).index.tolist() == [1, 3, 5, 7, 9]
