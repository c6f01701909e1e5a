import numpy as np

from pepbench.data.hash_table import hash_bytes, key_of, scattered


def test_key_is_the_text_itself_or_its_hash():
    content = np.frombuffer(bytes(range(1, 40)), dtype=np.uint8)
    for start in range(len(content)):
        for stop in range(start, len(content) + 1):
            text = content[start:stop].tobytes()
            short = int.from_bytes(text, "little")
            expected = short if len(text) <= 8 else hash_bytes(content, start, stop)
            assert key_of(content, start, stop - start) == expected


def test_hash_of_bytes_stays_what_tables_were_built_with():
    def hashed(text):
        return int(hash_bytes(np.frombuffer(text, dtype=np.uint8), 0, len(text)))

    # FNV-1a's offset, words and prime, followed step by step in Python's whole numbers.
    def expected(text, prime=0x9FB21C651E98DF25, limit=2**64):
        state = 0xCBF29CE484222325 ^ len(text)
        words = [text[at : at + 8] for at in range(0, len(text), 8) if at + 8 <= len(text)]
        for word in words:
            state = (state ^ int.from_bytes(word, "little")) * prime % limit
            state ^= state >> 29
        left = int.from_bytes(text[8 * len(words) :], "little")
        state = (state ^ left) * prime % limit
        state = (state ^ state >> 32) * prime % limit
        return state ^ state >> 29

    for length in range(40):
        text = bytes(range(7, 7 + length))
        assert hashed(text) == expected(text)


def test_similar_texts_are_scattered_over_a_table():
    texts = np.array([f"{number:08x}".encode() for number in range(1 << 15)]).view(np.uint8)
    slots = [int(scattered(key_of(texts, 8 * i, 8), 8)) % (1 << 16) for i in range(1 << 15)]
    # Of n balls in 2n bins, 1 - exp(-1/2) of the bins are hit.
    assert len(set(slots)) > 0.95 * (1 << 16) * (1 - np.exp(-0.5))
