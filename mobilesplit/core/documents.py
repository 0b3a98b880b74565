"""How every file model behaves: unknown keys are errors, all errors at once, each with its path."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mobilesplit.core.errors import InputFileError


class Document(BaseModel):
    """Base of everything that is read from or written to a file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )

    @classmethod
    def load(cls, data: str | bytes, *, source: str) -> Self:
        """Parse a JSON document; ``source`` names it in errors.

        Raises:
            InputFileError: with every mistake at once, each with its path (``$.cuts.0.id``).
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise InputFileError(source, describe(error)) from None

    def save(self) -> str:
        """The document as indented JSON, with its fields under their names in files."""
        return self.model_dump_json(by_alias=True, indent=2, exclude_none=True) + "\n"


def describe(error: ValidationError) -> str:
    """Every mistake of a pydantic error in one line: ``$.sla_ms: Field required; ...``."""
    mistakes = []
    for item in error.errors():
        path = "$" + "".join(f".{part}" for part in item["loc"])
        mistakes.append(f"{path}: {item['msg']}")
    return "; ".join(mistakes)
