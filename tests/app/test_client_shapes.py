"""What every client holds of an API contract is found once, and each language only writes it."""

from __future__ import annotations

from mainstay.app.client import python, typescript
from mainstay.app.client.shapes import shapes
from mainstay.core.nouns import Field, Limits
from mainstay.serving.contract import ApiContract

VIP = Field(name="is_true", type="boolean", required=True)
CONTRACT = ApiContract(
    integration="churn",
    api=1,
    key=Field(name="customer_id", type="string", required=True),
    columns=(Field(name="tenure", type="integer"),),
    inputs=(Field(name="level", type="integer", required=True, limits=Limits(values=(1, 2))),),
    outputs=(Field(name="risk", type="string", categories=("high", "low")),),
)


def test_shapes_say_what_is_given_and_taken() -> None:
    found = shapes(CONTRACT)
    assert [(one.name, one.kind) for one in found.objects] == [
        ("Output", "given"),
        ("Inputs", "taken"),
        ("Row", "taken"),
    ]
    output, inputs, row = (one.properties for one in found.objects)
    assert output[0].values == ("high", "low")
    assert [(one.field.name, one.values, one.optional) for one in row] == [
        ("tenure", (), True),
        ("level", (1, 2), False),
    ]
    assert inputs == row[1:]
    assert (found.key, found.inputs, found.example) == (CONTRACT.key, "needed", "KEY")


def test_a_key_of_several_columns_is_an_object_and_its_example_one_in_each_language() -> None:
    contract = ApiContract(integration="x", api=1, key=CONTRACT.key, keys=(CONTRACT.key, VIP), outputs=())
    found = shapes(contract)
    assert [one.name for one in found.objects] == ["Output", "Row", "Key"]
    assert (found.key, found.inputs) == (None, "none")
    assert python.parts(found)["KEY"] == '{"customer_id": "KEY", "is_true": True}'
    assert typescript.parts(found)["KEY"] == '{"customer_id": "KEY", "is_true": true}'


def test_a_truth_alone_goes_as_its_word() -> None:
    found = shapes(ApiContract(integration="x", api=1, key=VIP, outputs=()))
    assert [parts["KEY"] for parts in (python.parts(found), typescript.parts(found))] == ['"true"'] * 2
