"""What the tiny programming tasks ask, and the right programs."""

from __future__ import annotations

from dataclasses import dataclass

Constant = int | str


@dataclass(frozen=True, slots=True)
class Family:
    """One thing to ask, open in its constants."""

    name: str
    """Also the name of the function asked for."""
    arguments: tuple[str, ...]
    what: str
    """The result in words; ``{0}`` stands for the first constant."""
    body: str
    """Body of the right function; its last line, and no other, returns."""
    constants: tuple[tuple[Constant, ...], ...] = ()
    """The values of each constant."""

    @property
    def on_numbers(self) -> bool:
        """Whether all arguments are whole numbers, so that it can be asked as a program too."""
        return not {"s", "xs"} & set(self.arguments)

    @property
    def noun(self) -> str:
        """What one argument is."""
        return {"s": "string", "xs": "list of integers"}.get(self.arguments[0], "integer")


_X, _XY, _XYZ, _S, _XS = ("x",), ("x", "y"), ("x", "y", "z"), ("s",), ("xs",)
_SMALL = (tuple(range(2, 14)),)
_TINY = (tuple(range(2, 6)),)
_LARGE = (tuple(range(5, 35, 3)),)
_LETTERS = (tuple("aeinoprt"),)

FAMILIES = (
    Family("add", _X, "the sum of x and {0}", "return x + {0}", _SMALL),
    Family("subtract", _X, "x minus {0}", "return x - {0}", _SMALL),
    Family("multiply", _X, "x multiplied by {0}", "return x * {0}", _SMALL),
    Family("remainder", _X, "the remainder when x is divided by {0}", "return x % {0}", _SMALL),
    Family("divide", _X, "x divided by {0}, rounded down to a whole number", "return x // {0}", _SMALL),
    Family("power", _X, "x to the power of {0}", "return x ** {0}", _TINY),
    Family("square_plus", _X, "the square of x, plus {0}", "return x * x + {0}", _SMALL),
    Family("is_multiple", _X, "True if x is a multiple of {0}, and False otherwise", "return x % {0} == 0", _SMALL),
    Family("is_greater", _X, "True if x is greater than {0}, and False otherwise", "return x > {0}", _LARGE),
    Family("is_even", _X, "True if x is even, and False otherwise", "return x % 2 == 0"),
    Family("is_odd", _X, "True if x is odd, and False otherwise", "return x % 2 == 1"),
    Family("larger", _X, "the larger of x and {0}", "return max(x, {0})", _LARGE),
    Family("smaller", _X, "the smaller of x and {0}", "return min(x, {0})", _LARGE),
    Family("distance", _X, "the absolute difference between x and {0}", "return abs(x - {0})", _LARGE),
    Family("count_down", _X, "the sum of all integers from 1 to x", "return sum(range(1, x + 1))"),
    Family(
        "sum_multiples", _X, "the sum of all multiples of {0} from 1 to x", "return sum(range({0}, x + 1, {0}))", _TINY
    ),
    Family("add_all", _XY, "the sum of x, y and {0}", "return x + y + {0}", _SMALL),
    Family("combine", _XY, "{0} times x, plus y", "return {0} * x + y", _SMALL),
    Family("product_minus", _XY, "the product of x and y, minus {0}", "return x * y - {0}", _SMALL),
    Family("difference", _XY, "x minus y, plus {0}", "return x - y + {0}", _SMALL),
    Family("scaled_max", _XY, "the larger of x and y, multiplied by {0}", "return max(x, y) * {0}", _SMALL),
    Family("sum_exceeds", _XY, "True if x + y is greater than {0}, and False otherwise", "return x + y > {0}", _LARGE),
    Family("total", _XYZ, "the sum of x, y and z", "return x + y + z"),
    Family("largest", _XYZ, "the largest of x, y and z", "return max(x, y, z)"),
    Family("smallest", _XYZ, "the smallest of x, y and z", "return min(x, y, z)"),
    Family("count_letter", _S, "how many times the letter '{0}' appears in s", "return s.count({0})", _LETTERS),
    Family("remove_letter", _S, "s with every '{0}' removed", "return s.replace({0}, '')", _LETTERS),
    Family(
        "replace_letter",
        _S,
        "s with every '{0}' replaced by '{1}'",
        "return s.replace({0}, {1})",
        (("a", "e", "o", "t"), ("x", "y", "z")),
    ),
    Family("starts_with", _S, "True if s starts with '{0}', and False otherwise", "return s.startswith({0})", _LETTERS),
    Family("contains", _S, "True if s contains the letter '{0}', and False otherwise", "return {0} in s", _LETTERS),
    Family("first_letters", _S, "the first {0} characters of s", "return s[:{0}]", _TINY),
    Family("last_letters", _S, "the last {0} characters of s", "return s[-{0}:]", _TINY),
    Family("repeat", _S, "s repeated {0} times", "return s * {0}", _TINY),
    Family("length_plus", _S, "the length of s, plus {0}", "return len(s) + {0}", _SMALL),
    Family("reverse", _S, "s reversed", "return s[::-1]"),
    Family("upper", _S, "s in upper case", "return s.upper()"),
    Family("count_words", _S, "the number of words in s", "return len(s.split())"),
    Family("count_vowels", _S, "the number of vowels in s", "return sum(letter in 'aeiou' for letter in s)"),
    Family("is_palindrome", _S, "True if s is a palindrome, and False otherwise", "return s == s[::-1]"),
    Family("add_to_each", _XS, "a list with {0} added to each element of xs", "return [x + {0} for x in xs]", _SMALL),
    Family("scale", _XS, "a list with each element of xs multiplied by {0}", "return [x * {0} for x in xs]", _SMALL),
    Family(
        "greater_than",
        _XS,
        "a list of the elements of xs that are greater than {0}",
        "return [x for x in xs if x > {0}]",
        _LARGE,
    ),
    Family(
        "count_above", _XS, "how many elements of xs are greater than {0}", "return sum(x > {0} for x in xs)", _LARGE
    ),
    Family("take", _XS, "the first {0} elements of xs", "return xs[:{0}]", _TINY),
    Family("sum_plus", _XS, "the sum of the elements of xs, plus {0}", "return sum(xs) + {0}", _SMALL),
    Family("sum_list", _XS, "the sum of the elements of xs", "return sum(xs)"),
    Family("maximum", _XS, "the largest element of xs", "return max(xs)"),
    Family("minimum", _XS, "the smallest element of xs", "return min(xs)"),
    Family("last", _XS, "the last element of xs", "return xs[-1]"),
    Family("backwards", _XS, "the elements of xs in reverse order, as a list", "return xs[::-1]"),
    Family("sort", _XS, "the elements of xs in ascending order, as a list", "return sorted(xs)"),
    Family("count_even", _XS, "how many elements of xs are even", "return sum(x % 2 == 0 for x in xs)"),
)
