"""How objects of libraries are taken apart that cannot be pickled, or not from here."""

import io

from . import remake
from .lost import NotKept
from .reducing import named


@named("PIL.ImageDraw.ImageDraw")
def image_draw(_saving, value):
    """It draws into its image, so it is made again for that."""
    image, own = getattr(value, "_image", None), dict(value.__dict__)
    if image is None or value.im is not image.im:
        raise NotKept("its image is another one by now")
    for name in ("draw", "im", "_image"):
        own.pop(name, None)
    return remake.image_draw, (image, value.mode), (own, None), None, None, remake.attributes


@named("PIL.ImageFont.FreeTypeFont")
def font(saving, value):
    """One from memory has read that to its end."""
    parts = saving.standard(value)
    if isinstance(parts, str) or len(parts) < 3 or not isinstance(parts[2], list):
        return parts
    state = [saving.alive(io.BytesIO(each.getvalue())) if type(each) is io.BytesIO else each for each in parts[2]]
    return (*parts[:2], state, *parts[3:])


@named("sympy.polys.domains.domain.Domain")
def sympy_domain(saving, value):
    """The domains that sympy has one of, which it compares by what they are."""
    import sympy.polys.domains

    for name, each in vars(sympy.polys.domains).items():
        if each is value:
            return remake.singleton, ("sympy.polys.domains", name)
    return saving.standard(value)


@named("statsmodels.base.data.ModelData")
def model_data(saving, value):
    """It looks up what its formula names where it is unpickled: among the user's variables."""
    parts = saving.standard(value)
    if isinstance(parts, str) or len(parts) < 3:
        return parts
    return parts[0], parts[1], parts[2], None, None, remake.among_variables
