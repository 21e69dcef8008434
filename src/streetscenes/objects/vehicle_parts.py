"""Parts that cars, lorries and buses share: wheels, and the colors of glass and lamps."""

from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Color
from streetscenes.drawing.solids import Face, Frame, disc

GLASS: Color = (48, 56, 64)
RUBBER: Color = (24, 24, 26)
RED_LAMP: Color = (175, 28, 28)
BRAKING: Color = (255, 70, 60)
HEAD_LAMP: Color = (235, 236, 230)


def draw_wheels(
    canvas: Canvas,
    frame: Frame,
    faces: dict[str, Face],
    reach: float,
    side: float,
    radius: float,
    tag: int,
) -> None:
    """Draw the wheels of the visible side, `reach` meters in front of and behind the center."""
    project, light = canvas.camera.project, canvas.light
    for name, across in (("left", -side), ("right", side)):
        if name not in faces:
            continue
        for along in (-reach, reach):
            for scale, color in ((1.0, RUBBER), (0.6, (135, 137, 140))):
                outline = disc(frame, along, across, radius, radius * scale)
                ink = light.attenuate(color, outline[0][2], 0.9)
                canvas.fill([project(*point) for point in outline], ink, tag)
