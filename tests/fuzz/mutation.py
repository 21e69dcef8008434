"""Random mutations of bytes, texts and plain values."""

import random
from typing import Any

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
ODD_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 7, 255, 256, -(2**31), 2**31, 2**32, 2**63, 2**64, 10**30),
    *(10**400, 0.0, -0.0, 0.1, 0.5, 1.0, 1.5, 1e-300, 1e300, -1e300, "", " ", "0", "1", "null"),
    *("nan", "a", "\x00", "a\nb", "\x1b[31mred", "\ud800", "x" * 5000, "~", "~nobody/x", "..", "/"),
    *("size", "none", "last", "auto", "cuda:99", "{id}", "(", "(a)(b)", "é", "\u202e", "$(id)"),
    *([], [1], [None], ["a"], [[]], [1.5, "a"], [0, 0, 0], list(range(3000)), {}, {"a": 1}),
    *({"": {}}, {"a": {"b": {"c": None}}}, [[[[[[[[]]]]]]]]),
)


def mutate_bytes(rng: random.Random, data: bytes, changes: int = 4) -> bytes:
    """Damage `data` in up to `changes` places."""
    found = bytearray(data)
    for _ in range(rng.randint(1, changes)):
        at = rng.randrange(len(found)) if found else 0
        length = rng.choice((1, 1, 2, 4, 16, 200))
        kind = rng.randrange(7)
        if kind == 0 and found:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and found:
            found[at] = rng.randrange(256)
        elif kind == 2:
            found[at : at + 4] = rng.choice(INTERESTING).to_bytes(4, rng.choice(("little", "big")))
        elif kind == 3:
            del found[at : at + length]
        elif kind == 4:
            found[at:at] = rng.randbytes(length)
        elif kind == 5:
            found[at:at] = found[at : at + length]
        else:
            found[at : at + length] = bytes(min(length, len(found) - at))
    return bytes(found)


def truncate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Truncate `data` and, sometimes, append other bytes."""
    end = rng.choice((0, 1, len(data) - 1, len(data) // 2, rng.randrange(len(data) + 1)))
    return data[:end] + rng.choice((b"", b"", bytes(20), rng.randbytes(20)))


def mutate_text(rng: random.Random, text: str) -> bytes:
    """Change up to 3 lines of `text`; the result is not always valid UTF-8."""
    lines = text.splitlines()
    odd = ("\t", "\x00", "\x1b[2J", "&a", "*a", "!!int ", "!x ", "{", "}", "[", "'", '"', "%", "@")
    odd += ("- ", ": ", "? ", "| ", "> ", "---", "...", "<<: ", "\ufeff", "\u2028", "9" * 5000)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        place = rng.randrange(len(lines[at]) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            lines[at] = lines[at][:place] + rng.choice(odd) + lines[at][place:]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif kind == 2 and len(lines) > 1:
            del lines[at]
        elif kind == 3:
            lines[at] = " " * rng.randrange(5) + lines[at].lstrip()
        elif kind == 4 and ":" in lines[at]:
            lines[at] = f"{lines[at].split(':')[0]}: {rng.choice(ODD_WORDS)}"
        else:
            lines[at] = lines[at][:place]
    data = "\n".join(lines).encode()
    return data if rng.random() < 0.9 else mutate_bytes(rng, data, 2)


ODD_WORDS = (
    *("", "~", "yes", "no", "0x10", "0o17", "1e5", ".inf", "-.inf", ".nan", "1_000", "1:30", "-1"),
    *(
        "2001-01-01",
        "2001-99-99",
        "2001-01-01T99:99:99Z",
        "!!binary aGk=",
        "!!binary =",
        "!!set {a}",
    ),
    *("!!python/object/apply:os.system ['touch evil']", "!!python/name:os.system", "!!timestamp x"),
    *("!!float x", "!!int x", "!!int ''", "!!bool x", "!!null x", "!!omap [1]", "!!pairs [1]"),
    *("9" * 400, "9" * 5000, "1e400", "*a", "&a [*a]", "&a {a: *a}", "[", "{", "'", "? a", "<<: 1"),
    *("'\x1b[31m'", '"\\0"', '"\\ud800"', '"\\x1b[2J"', '"a\\nb"', "|\n  a\n  b", "{a: 1, a: 2}"),
    *("{[1]: 2}", "{{a: 1}: 2}", "{1: 2}", "{null: 1}", "[" * 3000, "{a: " * 300, "- " * 500),
)


def mutate_value(rng: random.Random, value: Any, changes: int = 2) -> Any:
    """Change up to `changes` entries of a value of mappings, lists and scalars."""
    for _ in range(rng.randint(1, changes)):
        value = _change_entry(rng, value)
    return value


def _change_entry(rng: random.Random, value: Any) -> Any:
    inner = isinstance(value, dict | list) and value and rng.random() < 0.92
    if not inner:
        return rng.choice(ODD_VALUES)
    if isinstance(value, dict):
        name = rng.choice(list(value))
        kind = rng.randrange(8)
        if kind == 0:
            return {key: entry for key, entry in value.items() if key != name}
        if kind == 1:
            return {**value, rng.choice(ODD_KEYS): rng.choice(ODD_VALUES)}
        if kind == 2:
            return {(name + "x" if key == name else key): e for key, e in value.items()}
        return {**value, name: _change_entry(rng, value[name])}
    at = rng.randrange(len(value))
    kind = rng.randrange(6)
    if kind == 0:
        return value[:at] + value[at + 1 :]
    if kind == 1:
        return [*value[:at], value[at], *value[at:]]
    return [*value[:at], _change_entry(rng, value[at]), *value[at + 1 :]]


ODD_KEYS = ("", "a", "\x00", "\x1b[31m", "epochs", "__class__", "self", "x" * 5000, "a.b", "é")
