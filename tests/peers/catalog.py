"""The models of registry/catalog/models by id, each a dictionary of its fields."""
import glob
import os
import re

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "registry", "catalog", "models")
TOKEN = re.compile(r'#[^\n]*|"((?:[^"\\]|\\.)*)"|([A-Za-z_][\w.]*)|(-?\d[\w.+-]*)|([{}\[\]:,])')


def _tokens(text):
    for match in TOKEN.finditer(text):
        string, word, number, sign = match.groups()
        if string is not None:
            yield string
        elif word is not None:
            yield {"true": True, "false": False}.get(word, word)
        elif number is not None:
            yield int(number)
        elif sign is not None and sign not in ":,":
            yield (sign,)  # apart from strings that look like it


def _message(tokens):
    """Fields until the closing brace; each a list of its values."""
    fields = {}
    for name in tokens:
        if name == ("}",):
            break
        values = fields.setdefault(name, [])
        value = next(tokens)
        if value == ("{",):
            values.append(_message(tokens))
        elif value == ("[",):
            values.extend(iter(lambda: next(tokens), ("]",)))
        else:
            values.append(value)
    return fields


def models():
    """{id: {field: [value, ...]}}"""
    found = {}
    for path in sorted(glob.glob(os.path.join(FOLDER, "*.txtpb"))):
        with open(path, encoding="utf-8") as f:
            for model in _message(_tokens(f.read()))["models"]:
                found[model["id"][0]] = model
    return found
