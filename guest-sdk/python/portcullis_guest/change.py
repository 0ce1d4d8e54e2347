"""What a plugin can want done to the answer."""

from __future__ import annotations

import json
from typing import Any

from wit_world.imports import types
from wit_world.imports.types import Cap, Change, Credential, Edit, Grant, GrantKind, Place, Statement, Target


def put(target: Target, path: str, value: Any) -> Change:
    """The contract's `set`."""
    return types.Change_Set(Edit(target, path, json.dumps(value, ensure_ascii=False, separators=(",", ":"))))


def remove(target: Target, path: str) -> Change:
    return types.Change_Remove(Place(target, path))


def cap_lifetime(target: Target, seconds: int) -> Change:
    return types.Change_CapLifetime(Cap(target, seconds))


def add_grant(kind: GrantKind, id: str) -> Change:
    return types.Change_AddGrant(Grant(kind, id))


def drop_grant(kind: GrantKind, id: str) -> Change:
    return types.Change_DropGrant(Grant(kind, id))


def link_user(id: str) -> Change:
    return types.Change_LinkUser(id)


def create_user() -> Change:
    return types.Change_CreateUser()


def credential(found: Credential) -> Change:
    return types.Change_Credential(found)


def auto_approve() -> Change:
    return types.Change_AutoApprove()


def require_approvers(people: list[str]) -> Change:
    return types.Change_RequireApprovers(people)


def statement(name: str, code: str, payload: Any, obligatory: bool) -> Change:
    return types.Change_Statement(Statement(name, code, json.dumps(payload, ensure_ascii=False), obligatory))


def waive(codes: list[str]) -> Change:
    return types.Change_Waive(codes)
