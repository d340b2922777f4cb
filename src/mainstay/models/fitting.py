"""Whether a model fits the API contract: its inputs are among the contract's, its outputs the same."""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.core.counts import counted
from mainstay.core.nouns import Field, Signature
from mainstay.core.verdicts import Finding, Verdict

# A whole number goes into a number without loss; nothing else goes into another type by itself.
_WIDER = {("integer", "number")}


def fits(inputs: Sequence[Field], outputs: Sequence[Field], signature: Signature) -> tuple[Finding, ...]:
    """One FAIL for each reason against it; a single PASS when there is none.

    `inputs` are what the API contract offers: the columns of `model.input` and the declared request-time inputs.
    """
    offered = {field.name: field for field in inputs}
    found = []
    for field in signature.inputs:
        given = offered.get(field.name)
        if given is None:
            sentence = f"the model takes {field.name}, which is no column of its input and no request-time input"
            found.append(_fail("model.input", field.name, sentence, f"let the feature SQL give {field.name}"))
        elif given.type != field.type and (given.type, field.type) not in _WIDER:
            sentence = f"the model takes {field.name} as {field.type}, and it is given as {given.type}"
            found.append(_fail("model.input", field.name, sentence, f"cast {field.name} to {field.type} in the SQL"))
    promised = {field.name: field for field in outputs}
    answered = {field.name: field for field in signature.outputs}
    found.extend(
        _fail("model.output", name, f"the API promises {name}, which the model does not give", "")
        for name in promised.keys() - answered.keys()
    )
    found.extend(
        _fail("model.output", name, f"the model gives {name}, which the API does not promise", "")
        for name in answered.keys() - promised.keys()
    )
    for name in promised.keys() & answered.keys():
        for what in ("type", "unit"):
            wanted, came = getattr(promised[name], what), getattr(answered[name], what)
            if wanted != came:
                sentence = (
                    f"the API promises {name} with the {what} {wanted or 'none'}, and the model says {came or 'none'}"
                )
                found.append(_fail("model.output", name, sentence, "a changed answer is a new `api:` version"))
    if found:
        return tuple(sorted(found, key=lambda finding: (finding.check, finding.column or "")))
    count = len(signature.inputs)
    return (
        Finding(
            check="model.fits",
            verdict=Verdict.PASS,
            sentence=f"the model's {counted(count, 'input')} and its outputs fit",
        ),
    )


def _fail(check: str, column: str, sentence: str, mend: str) -> Finding:
    return Finding(check=check, verdict=Verdict.FAIL, sentence=sentence, column=column, mend=mend, failed=1, total=1)
