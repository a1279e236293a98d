"""Features of several values as several features of one: for formats that have one number in one place."""

from dataclasses import replace

from rescoring.formats.notes import Notes
from rescoring.nbest import Feature, NbestLists


def scalar_features(lists: NbestLists, notes: Notes) -> NbestLists:
    """The lists with NAME_0, NAME_1, ... for each feature NAME of more than one value; which is noted."""
    if all(feature.width == 1 for feature in lists.schema):
        return lists
    schema: list[Feature] = []
    for feature in lists.schema:
        if feature.width == 1:
            schema.append(feature)
            continue
        schema += [Feature(f"{feature.name}_{k}") for k in range(feature.width)]
        last = feature.width - 1
        notes.say(f"feature {feature.name} of {feature.width} values becomes {feature.name}_0 to _{last}")
    return replace(lists, schema=tuple(schema))
