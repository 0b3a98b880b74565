"""In-place operators to functional ones, without tracing the model again.

The rule: a write becomes a new value only where nobody else can see the memory written to;
whatever is not known to be that simple is left for torch's own functionalization, which takes
seconds and splits operators that the delegates know whole.
"""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram

_ALWAYS_NEW = frozenset({
    "batch_norm", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "group_norm", "instance_norm", "layer_norm", "linear", "matmul",
    "max_pool2d",
})  # fmt: skip
"""Composite operators whose result is never (a view of) an argument; schemas do not say it."""


def functional(program: ExportedProgram) -> ExportedProgram:
    """``program`` with no operator that writes to its arguments; it may be changed itself."""
    writers = [node for node in program.graph.nodes if writes(node)]
    if not writers:
        return program
    if not all(_is_replaceable(node, writers) for node in writers):
        decomposed: ExportedProgram = program.run_decompositions({})
        return decomposed
    for node in writers:
        _replace(node)
    program.graph_module.recompile()
    return program


def writes(node: fx.Node) -> bool:
    """Whether the operator writes to an argument (``relu_``, ``add_``)."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _is_replaceable(writer: fx.Node, writers: list[fx.Node]) -> bool:
    """Whether its functional form does: the memory is an earlier operator's own, unshared."""
    written = writer.args[0] if writer.args else None
    return (
        _functional_form(writer) is not None
        and isinstance(written, fx.Node)
        and (written in writers or _is_new(written.target))
        and all(
            reader is writer or reader > writer or _is_new(reader.target)
            for reader in written.users
        )
        and not any(reader.op == "output" for reader in written.users)
        # Writing to one argument while reading the same as another is no simple write.
        and writer.all_input_nodes.count(written) == 1
        and list(writer.args).count(written) == 1
    )


def _replace(writer: fx.Node) -> None:
    written = writer.args[0]
    form = _functional_form(writer)
    assert isinstance(written, fx.Node) and form is not None
    written.replace_all_uses_with(writer, lambda reader: reader > writer)
    writer.target = form


def _functional_form(writer: fx.Node) -> torch._ops.OpOverload | None:
    """``aten.relu.default`` of ``aten.relu_.default``; None where there is no such pair."""
    target = writer.target
    assert isinstance(target, torch._ops.OpOverload)
    namespace, name = target._schema.name.split("::")
    packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
    form = getattr(packet, target._overloadname, None)
    if not name.endswith("_") or form is None or form._schema.is_mutable:
        return None
    names = [argument.name for argument in target._schema.arguments]
    same = names == [argument.name for argument in form._schema.arguments]
    return form if same and _is_new(form) else None


def _is_new(target: object) -> bool:
    """Whether what the operator returns is memory that no other value shares."""
    if not isinstance(target, torch._ops.OpOverload):
        return False
    if target._schema.name.split("::")[1] in _ALWAYS_NEW:
        return True
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return not target.has_kernel_for_dispatch_key(composite) and not any(
        result.alias_info for result in target._schema.returns
    )
