"""What all sections of the schema are made of."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, documented by attribute docstrings, no NaN or infinity."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


def only(value: object, sentence: str) -> AfterValidator:
    """Accept nothing but `value`, because of what `sentence` says."""

    def check(given: object) -> object:
        if given != value:
            raise ValueError(f"only {value!r} is possible: {sentence}")
        return given

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Background = Literal["white", "black", "gray", "random", "three_choices"] | Share
