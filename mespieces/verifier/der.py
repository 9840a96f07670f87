"""DER, as little as is needed of it: where a token's parts begin and end."""


def signed_data(token: bytes) -> list[tuple[int, int, int]]:
    """Return the members of the token's SignedData; none in a refusal, which carries no token."""
    response = inside(token, *inside(token, 0, len(token))[0][1:])
    if len(response) < 2:
        return []
    _, explicit = inside(token, *response[1][1:])
    return inside(token, *inside(token, *explicit[1:])[0][1:])


def inside(data: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """Return tag, start and end of the contents of each element between two places."""
    return [(tag, begin, stop) for tag, _, begin, stop in members(data, start, end)]


def members(data: bytes, start: int, end: int) -> list[tuple[int, int, int, int]]:
    """Return tag, start, start and end of the contents of each element. Raises `ValueError`, `IndexError` for what is not DER."""
    found, at = [], start
    while at < end:
        tag, length, begin = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise ValueError("not DER")
            begin, length = begin + count, int.from_bytes(data[begin : begin + count])
        if begin + length > end:
            raise ValueError("not DER")
        found.append((tag, at, begin, begin + length))
        at = begin + length
    return found
