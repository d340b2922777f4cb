"""Pictures for the graphs that eat them: a batch of rows becomes one tensor."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import ImageInput, Signature
from mainstay.core.ports import Row
from mainstay.models.images import decoded, need_pillow, shape_of
from mainstay.models.inputs import wrong_type

if TYPE_CHECKING:
    import numpy as np

_WHOLE = "tensor(uint8)"
_TAKEN = ("tensor(float)", _WHOLE)


class Pictures:
    """One tensor of pictures, and where in a row its picture stands."""

    def __init__(self, name: str, place: int, image: ImageInput, *, whole: bool, alone: bool) -> None:
        self.name = name
        self.place = place
        self._image = image
        self._whole = whole
        self.alone = alone
        """Whether the graph takes one picture at a time."""

    def batch(self, rows: Sequence[Row], signature: Signature) -> np.ndarray[Any, Any]:
        """The pictures of the rows, decoded. Raises ModelRefused, which names the input."""
        import numpy as np

        field = signature.inputs[self.place]
        found = []
        for row in rows:
            try:
                data = binascii.a2b_base64(row[self.place], strict_mode=True)
            except (TypeError, ValueError):
                raise wrong_type(field) from None
            try:
                found.append(decoded(data, self._image))
            except ModelRefused as error:
                raise ModelRefused(f"{field.name}: {error.sentence}") from None
        return np.stack(found).astype(np.uint8 if self._whole else np.float32, copy=False)


def pictures_of(session: Any, signature: Signature, options: Mapping[str, Any]) -> list[Pictures]:
    """Raises ModelRefused where a declared picture does not fit its tensor, or nothing here decodes pictures."""
    images = msgspec.convert(options.get("images", {}), dict[str, ImageInput])
    if not images:
        return []
    need_pillow()
    graph = {node.name: node for node in session.get_inputs()}
    places = {field.name: place for place, field in enumerate(signature.inputs)}
    made = []
    for entry in options.get("inputs", ()):
        column = entry["columns"][0]
        if column not in images:
            continue
        node, image = graph.get(entry["name"]), images[column]
        if node is None or column not in places:
            raise ModelRefused(f"the options feed {entry['name']}, which the graph or the signature does not have")
        made.append(Pictures(node.name, places[column], image, whole=node.type == _WHOLE, alone=node.shape[:1] == [1]))
        _fit(node, image)
    return made


def _fit(node: Any, image: ImageInput) -> None:
    shape, wanted = list(node.shape), shape_of(image)
    if len(shape) != 4 or any(isinstance(one, int) and one != two for one, two in zip(shape[1:], wanted, strict=True)):
        raise ModelRefused(
            f"the input {node.name} has the shape {shape}, and the pictures declared have {list(wanted)} each",
            mend="correct `size`, `mode` or `layout` of its `image:`",
        )
    if isinstance(shape[0], int) and shape[0] != 1:
        mend = "export it with a free batch"
        raise ModelRefused(f"the input {node.name} takes {shape[0]} pictures at once", mend=mend)
    if node.type not in _TAKEN:
        raise ModelRefused(f"the input {node.name} is a {node.type}; pictures go into {' or '.join(_TAKEN)}")
    if node.type == _WHOLE and (image.scale != 1 or image.mean or image.std):
        raise ModelRefused(
            f"the input {node.name} takes whole numbers from 0 to 255", mend="write `scale: 1` and no `mean` and `std`"
        )
