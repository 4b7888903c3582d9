"""JSON Merge Patch, RFC 7396: what a JSON value becomes when it is changed by another."""

from typing import Any


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` as `patch` changes it; neither is touched.

    Objects merge, null deletes a member, everything else takes the place of what was there, lists too. An object that
    is merged into what is none takes its place, without its nulls.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
