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
    schemas = {}
    for path in sorted(glob.glob(os.path.join(FOLDER, "*.json"))):
        with open(path, encoding="utf-8") as file:
            schema = json.load(file)
        schemas[schema["$id"]] = schema

    def resolved(value, document):
        """The same without references: there are no circular ones, and versions of jsonschema disagree about them."""
        if isinstance(value, list):
            return [resolved(item, document) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            name, _, pointer = value["$ref"].partition("#")
            document = schemas[name] if name else document
            target = functools.reduce(lambda part, key: part[key], pointer.split("/")[1:], document)
            return resolved(target, document)
        return {key: resolved(item, document) for key, item in value.items() if key not in ("$id", "$defs")}

    return {name.rsplit(":", 1)[1]: jsonschema.Draft202012Validator(resolved(schema, schema)) for name, schema in schemas.items()}
