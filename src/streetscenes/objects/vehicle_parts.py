"""Parts that cars, lorries and buses share: wheels, and the colours of glass and lamps."""

from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Colour
from streetscenes.drawing.solids import Face, Frame, disc

GLASS: Colour = (48, 56, 64)
RUBBER: Colour = (24, 24, 26)
RED_LAMP: Colour = (175, 28, 28)
BRAKING: Colour = (255, 70, 60)
HEAD_LAMP: Colour = (235, 236, 230)


def draw_wheels(
    canvas: Canvas,
    frame: Frame,
    faces: dict[str, Face],
    reach: float,
    side: float,
    radius: float,
    tag: int,
) -> None:
    """Draw the wheels of the visible side, `reach` metres in front of and behind the centre."""
    project, light = canvas.camera.project, canvas.light
    for name, across in (("left", -side), ("right", side)):
        if name not in faces:
            continue
        for along in (-reach, reach):
            for scale, colour in ((1.0, RUBBER), (0.6, (135, 137, 140))):
                outline = disc(frame, along, across, radius, radius * scale)
                ink = light.attenuate(colour, outline[0][2], 0.9)
                canvas.fill([project(*point) for point in outline], ink, tag)
