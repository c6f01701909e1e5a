"""The raw values behind the global ids of a split."""

from pepbench.data.encoding import numbers_of
from pepbench.data.splits import Splits


def feature_values(splits: Splits) -> list[str | None]:
    """The raw value of each of the N global ids, or interval of values; None for "unseen"."""
    values: list[str | None] = [None] * splits.fields.n_features
    for field, name in enumerate(splits.meta.fields):
        features = splits.codes_of_values(field) + splits.fields.offsets[field]
        of_field = splits.table.values_of(field)
        if splits.table.meta.encoding(name).bins is not None:
            of_field = interval_names(features.tolist(), of_field)
        for feature, value in zip(features.tolist(), of_field, strict=True):
            values[feature] = value
    for unseen in splits.fields.offsets.tolist():
        values[unseen] = None
    return values


def interval_names(features: list[int], values: list[str]) -> list[str]:
    """The interval of each raw value, from the smallest to the largest value of its feature."""
    of_feature: dict[int, list[float]] = {}
    for feature, number in zip(features, numbers_of(values).tolist(), strict=True):
        of_feature.setdefault(feature, []).append(number)
    names = {
        feature: "" if any(n != n for n in numbers) else f"{min(numbers):g} to {max(numbers):g}"
        for feature, numbers in of_feature.items()
    }
    return [names[feature] for feature in features]
