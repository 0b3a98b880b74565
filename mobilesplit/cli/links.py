"""``--link``: a preset of configs/links by name, or a specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilesplit.core.errors import InputFileError, UnknownNameError

if TYPE_CHECKING:
    from mobilesplit.core.links import Link

HELP = "Preset name, or uplink=5.9mbps,downlink=20mbps,rtt=45ms[,jitter=10ms]."


def find_link(text: str) -> Link:
    """The link called ``text``, or the one it describes.

    Raises:
        UnknownNameError: listing the presets.
        UsageError: a specification that cannot be read.
    """
    import yaml
    from pydantic import ValidationError

    from mobilesplit import resources
    from mobilesplit.core.documents import describe
    from mobilesplit.core.links import Link

    if "=" in text:
        return Link.parse(text)
    presets = resources.named_files("configs/links", ".yaml")
    if text not in presets:
        raise UnknownNameError("link", text, presets)
    path = presets[text]
    try:
        return Link.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        raise InputFileError(str(path), describe(error)) from None
