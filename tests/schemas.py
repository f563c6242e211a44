# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Documents compared with the published schemas, docs/schemas."""

import functools
import glob
import json
import os

import jsonschema

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "schemas")


def check(name, value):
    """Fail where a document is not as the schema of that name says."""
    errors = list(_validators()[name].iter_errors(value))
    assert not errors, "not as docs/schemas/%s.schema.json says: %s\n%s" % (
        name, jsonschema.exceptions.best_match(errors), json.dumps(value, indent=1)[:4000])


@functools.lru_cache
def _validators():
    schemas = []
    for path in sorted(glob.glob(os.path.join(FOLDER, "*.json"))):
        with open(path, encoding="utf-8") as file:
            schemas.append(json.load(file))
    # they refer to each other by $id
    bundled = {schema["$id"]: schema for schema in schemas}
    return {
        schema["$id"].rsplit(":", 1)[1]: jsonschema.Draft202012Validator(
            {"$schema": schema["$schema"], "$ref": schema["$id"], "$defs": bundled})
        for schema in schemas
    }
