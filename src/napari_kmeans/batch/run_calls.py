"""The calls that did the images of a study: one that was stopped is continued by another call.

The entry ``calls`` of a record lists them in order. Each has:

- ``started`` and ``seconds``: of a call that was killed, the seconds up to its last image;
- ``images``: the number of images that it did, and that were not done again since;
- ``status``: "complete" or "interrupted";
- ``other_versions``: the versions that differ from those of the record.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read_calls(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of a record. Records of earlier versions state the last one only."""
    calls = record.get("calls")
    if not isinstance(calls, list) or not all(map(_is_call, calls)):
        calls = [{name: record.get(name) for name in ("started", "seconds", "status")}]
    return [
        {**call, "versions": _versions(record, "versions") | _versions(call, "other_versions")}
        for call in calls
        if _is_call(call)
    ]


def join_calls(
    earlier: Sequence[Mapping[str, Any]],
    last: Mapping[str, Any],
    done_earlier: Sequence[Mapping[str, Any]],
    *,
    has_earlier_fit: bool,
) -> dict[str, Any]:
    """Return the entries `started`, `seconds` and `calls` of the record of a study.

    Parameters
    ----------
    earlier : sequence of dict
        The calls of the record that is replaced, see `read_calls`.
    last : dict
        The call that writes the record, with its `versions`.
    done_earlier : sequence of dict
        The entries of the images that earlier calls did.
    has_earlier_fit : bool
        Whether the model was fitted by an earlier call.
    """
    images: list[list[Mapping[str, Any]]] = [[] for _ in earlier]
    unknown: list[Mapping[str, Any]] = []
    for image in done_earlier:
        # Times in UTC are in the order of their texts.
        begun = [n for n, call in enumerate(earlier) if call["started"] <= image["started"]]
        (images[begun[-1]] if begun else unknown).append(image)
    calls = [_describe_unknown(unknown, last)] if unknown else []
    for call, own in zip(earlier, images, strict=True):
        # A call without images may have fitted the model. What another call did was done again.
        has_fitted = has_earlier_fit and call.get("status") == "interrupted"
        if own or has_fitted or last["status"] == "interrupted":
            end = max((_end_of(each, call) for each in own), default=0.0)
            # The record of a call that was killed is of its start. Starts are in whole seconds.
            seconds = end if end > call["seconds"] + 1 else call["seconds"]
            calls.append({**call, "seconds": round(seconds, 3), "images": len(own)})
    calls.append(dict(last))
    for call in calls:
        versions = call.pop("versions")
        known = last["versions"].items()
        call["other_versions"] = {
            name: versions.get(name, "missing")
            for name, version in known
            if versions.get(name) != version
        }
    return {
        "started": calls[0]["started"],
        "seconds": round(sum(call["seconds"] for call in calls), 3),
        "calls": calls,
    }


def _describe_unknown(
    images: Sequence[Mapping[str, Any]], last: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a call for images that are older than all calls, as those that came back to a study.

    Its times are those of its images. The versions are not known.
    """
    call = {"started": min(str(image["started"]) for image in images), "status": "complete"}
    seconds = max(_end_of(image, call) for image in images)
    versions = last["versions"]
    return {**call, "seconds": round(seconds, 3), "images": len(images), "versions": versions}


def _versions(values: Mapping[str, Any], name: str) -> dict[str, str]:
    versions = values.get(name)
    return dict(versions) if isinstance(versions, dict) else {}


def _is_call(call: Any) -> bool:
    if not isinstance(call, dict) or not isinstance(call.get("seconds"), int | float):
        return False
    try:
        datetime.fromisoformat(call.get("started"))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _end_of(image: Mapping[str, Any], call: Mapping[str, Any]) -> float:
    """Return the seconds from the start of a call to the end of an image."""
    begun = datetime.fromisoformat(image["started"]) - datetime.fromisoformat(call["started"])
    return begun.total_seconds() + float(image["seconds"])
