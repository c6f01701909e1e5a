from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pepbench.datasets.anime import Anime
from pepbench.datasets.ml_1m import MovieLens1MIds
from pepbench.datasets.ml_100k import MovieLens100K, MovieLens100KIds, log_buckets

from pepbench.data.manage import add
from pepbench.errors import DataError


def test_movielens_has_the_papers_rows_and_features(raw):
    meta = add(MovieLens100K(), raw("ml-100k")).meta
    assert meta.n_rows == 72_855
    assert meta.n_positive / meta.n_rows == pytest.approx(0.760, abs=5e-4)
    assert len(meta.fields) == 25
    assert sum(meta.cardinalities) == 1_106


def test_movielens_with_ids_has_the_same_rows(raw):
    plain = add(MovieLens100K(), raw("ml-100k"))
    with_ids = add(MovieLens100KIds(), raw("ml-100k"))
    assert (plain.labels == with_ids.labels).all()
    assert with_ids.meta.cardinalities[0] == 943
    shared = [name for name in plain.meta.fields if name in with_ids.meta.fields]
    assert shared == ["age", "gender", "occupation", "zip", "year"]
    for name in shared:
        a, b = plain.meta.fields.index(name), with_ids.meta.fields.index(name)
        assert plain.vocabularies[a] == with_ids.vocabularies[b]
        assert (plain.codes[:, a] == with_ids.codes[:, b]).all()


def test_anime_has_the_known_rows_and_does_not_leak(raw):
    meta = add(Anime(), raw("anime")).meta
    assert meta.n_rows == 419_943
    assert meta.n_positive / meta.n_rows == pytest.approx(0.606, abs=5e-4)
    assert meta.fields == ("user", "title", "genres", "type", "episodes")
    assert sum(meta.cardinalities) * 16 == 234_944


@pytest.mark.parametrize(
    ("dataset", "folder", "longest"),
    [
        (MovieLens100KIds(), "ml-100k", 6),
        (MovieLens1MIds(), "ml-1m", 6),
        (Anime(), "anime", 13),
    ],
    ids=lambda value: getattr(value, "name", None),
)
@pytest.mark.slow
def test_genres_as_several_values_are_those_of_the_combinations(dataset, folder, longest, raw):
    single = add(dataset, raw(folder))
    multi = add(replace(dataset, genres="multi"), raw(folder))
    field = single.meta.fields.index("genres")
    assert multi.meta.fields == single.meta.fields
    assert (multi.labels == single.labels).all()
    assert multi.meta.bags["genres"].slots == longest
    separator = multi.meta.bags["genres"].separator
    names, combinations = multi.values_of(field), single.values_of(field)
    counts = np.array([len([p for p in c.split(separator) if p]) for c in combinations])
    assert multi.meta.bags["genres"].n_values == counts[single.codes[:, field]].sum()
    assert multi.meta.bags["genres"].n_cut == 0
    codes = multi.codes[:, multi.meta.columns_of(field)]
    for row in range(0, len(codes), 997):
        expected = [
            part.strip() for part in combinations[single.codes[row, field]].split(separator)
        ]
        assert [names[code] for code in codes[row] if code >= 0] == [e for e in expected if e]
    others = np.delete(np.array(multi.codes), np.s_[multi.meta.columns_of(field)], axis=1)
    np.testing.assert_array_equal(others, np.delete(np.array(single.codes), field, axis=1))


FILMS = [
    (1, "Erste (1990)", "01-Jan-1990", {"comedy": 5, "romance": 14}),
    (2, "Caf\xe9 (1991)", "", {}),
]


@pytest.fixture
def movielens(tmp_path):
    folder = tmp_path / "ml"
    folder.mkdir()
    flags = [["1" if j in genres.values() else "0" for j in range(19)] for *_, genres in FILMS]
    films = [
        "|".join([str(film), title, date, "", "", *row])
        for (film, title, date, _), row in zip(FILMS, flags, strict=True)
    ]
    (folder / "u.item").write_text("\n".join(films) + "\n", encoding="latin-1")
    (folder / "u.user").write_text("1|17|M|writer|00001\n2|56|F|other|V1N\n")
    (folder / "u.data").write_text("1\t1\t5\t103\n2\t2\t3\t100\n2\t1\t2\t1100\n1\t2\t4\t102\n")
    return folder


def rows_of(dataset, source):
    table = pa.Table.from_batches(
        [
            pa.record_batch({**block.columns, "label": pa.array(block.labels)})
            for block in dataset.blocks(source)
        ]
    )
    return table.to_pylist()


def test_movielens_encoding_by_hand(movielens):
    first, second, third = rows_of(MovieLens100K(), movielens)
    flags = {name: value for name, value in first.items() if name.startswith("genre_")}
    assert len(flags) == 19
    assert [name for name, value in flags.items() if value == "1"] == [
        "genre_comedy",
        "genre_romance",
    ]
    assert {name: value for name, value in first.items() if name not in flags} == {
        "timestamp": "1",
        "age": "1-17",
        "gender": "M",
        "occupation": "writer",
        "zip": "00001",
        "year": "1990",
        "label": True,
    }
    assert (second["timestamp"], second["age"], second["label"]) == ("47", "56-100", False)
    assert (third["timestamp"], third["year"], third["label"]) == ("0", "", True)


def test_movielens_ids_by_hand(movielens):
    first, _, third = rows_of(MovieLens100KIds(), movielens)
    assert (first["user"], first["film"], first["genres"]) == ("1", "1", "comedy|romance")
    assert (third["user"], third["film"], third["genres"]) == ("1", "2", "")


def test_log_buckets_floor_the_squared_logarithm():
    seconds = np.arange(3, 5_000)
    assert (log_buckets(seconds) == [int(np.log(second) ** 2) for second in seconds]).all()


@pytest.fixture
def anime(tmp_path):
    folder = tmp_path / "anime"
    folder.mkdir()
    (folder / "anime_info.dat").write_text(
        "anime_ids\tname\tgenre\ttype\tepisodes\trating\tmembers\n"
        "30\tLate\tDrama, War\tTV\t26\t9.1\t5\n"
        "7\tEarly\t\tMovie\t1\t8.0\t9\n",
        encoding="utf-8",
    )
    (folder / "anime_ratings.dat").write_text(
        "User_ID\tAnime_ID\tFeedback\n1\t1\t8\n1\t2\t7\n2\t2\t10\n"
    )
    return folder


def test_anime_ids_are_ranks_of_the_titles_ids(anime):
    first, second, third = rows_of(Anime(), anime)
    assert first == {
        "user": "1",
        "title": "Early",
        "genres": "",
        "type": "Movie",
        "episodes": "1",
        "label": True,
    }
    assert (second["title"], second["genres"], second["label"]) == ("Late", "Drama, War", False)
    assert (third["user"], third["label"]) == ("2", True)


MOVIELENS_DAMAGES = [
    ("u.data", "1\t1\t5\t103\n1\t1\t5\n", r"u\.data, row 2: 3 columns, expected 4"),
    ("u.data", "1\t1\t5\t103\t9\n", r"u\.data, row 1: 5 columns, expected 4"),
    ("u.data", "1\t1\t5\t103\n1\t1\t5\t10", r"u\.data, row 2: .*cut"),
    ("u.data", "1\t1\t5\t103\n1\t1\t6\t103\n", r"u\.data, row 2: rating is '6'.* from 1 to 5"),
    ("u.data", "1\t1\t5\t103\n3\t1\t5\t103\n", r"u\.data, row 2: user '3' is not in u\.user"),
    ("u.data", "1\t9\t5\t103\n", r"u\.data, row 1: film '9' is not in u\.item"),
    ("u.data", "", r"u\.data is empty"),
    ("u.user", "1|17|M|writer|1\n1|17|M|writer|1\n", r"u\.user, row 2: user '1' occurs a second"),
    ("u.user", "1|0|M|writer|1\n", r"u\.user, row 1: age is '0'"),
    ("u.user", "1|17|M|writer\n", r"u\.user, row 1: 4 columns, expected 5"),
    (
        "u.item",
        "1|A|soon|||" + "|".join("0" * 19) + "\n",
        r"u\.item, row 1: release_date is 'soon'",
    ),
    ("u.item", "1|A||||" + "|".join("2" * 19) + "\n", r"u\.item, row 1: \w+ is '2'"),
    ("u.data", None, r"lacks u\.data; expected a folder with u\.data, u\.user, u\.item"),
]


@pytest.mark.parametrize("dataset", [MovieLens100K(), MovieLens100KIds()], ids=lambda d: d.name)
@pytest.mark.parametrize(("name", "content", "message"), MOVIELENS_DAMAGES)
def test_damaged_movielens_is_named(movielens, dataset, name, content, message):
    _damage(movielens / name, content)
    with pytest.raises(DataError, match=message) as caught:
        add(dataset, movielens)
    assert "\n" not in str(caught.value)


def test_timestamp_that_is_no_number_is_named(movielens):
    (movielens / "u.data").write_text("1\t1\t5\t100\n1\t1\t5\tnoon\n")
    with pytest.raises(DataError, match=r"u\.data, row 2: timestamp is 'noon'"):
        add(MovieLens100K(), movielens)


HEADER = "User_ID\tAnime_ID\tFeedback\n"
ANIME_DAMAGES = [
    ("anime_ratings.dat", HEADER + "1\t1\t11\n", r"row 2: Feedback is '11'.* from 1 to 10"),
    ("anime_ratings.dat", HEADER + "1\t3\t8\n", r"row 2: Anime_ID '3' is not in anime_info\.dat"),
    ("anime_ratings.dat", HEADER + "x\t1\t8\n", r"row 2: User_ID is 'x'"),
    ("anime_ratings.dat", HEADER + "1\t1\n", r"row 2: 2 columns, expected 3"),
    ("anime_ratings.dat", HEADER + "1\t1\t8", r"row 2: .*cut"),
    ("anime_ratings.dat", "1\t1\t8\n", r"row 1: header"),
    ("anime_ratings.dat", HEADER, r"has no rows"),
    ("anime_info.dat", None, r"lacks anime_info\.dat"),
    ("anime_info.dat", "\xff", r"cut"),
]


@pytest.mark.parametrize(("name", "content", "message"), ANIME_DAMAGES)
def test_damaged_anime_is_named(anime, name, content, message):
    _damage(anime / name, content)
    with pytest.raises(DataError, match=message) as caught:
        add(Anime(), anime)
    assert "\n" not in str(caught.value)


def test_anime_that_is_not_utf_8_is_named(anime):
    path = anime / "anime_info.dat"
    path.write_bytes(path.read_bytes().replace(b"Early", b"Fr\xfch"))
    with pytest.raises(DataError, match=r"anime_info\.dat, row 3: not utf-8 text"):
        add(Anime(), anime)


def _damage(path, content):
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="latin-1")
