"""Pixel tags: label id and surface type, packed into the alpha channel of the canvas.

One drawing call writes color and tag together, so image and mask cannot disagree. The low six
bits hold the label id (0..33), the high two bits the surface type, from which
`camera_effects.py` chooses the texture.
"""

LABEL_BITS = 0x3F

SMOOTH = 0x00  # paint, glass, skin, cloth, sky
GRAIN = 0x40  # asphalt, concrete, ballast
FOLIAGE = 0x80  # leaves and grass
MASONRY = 0xC0  # brick, plaster, roof tiles

STATIC = 4 | SMOOTH
DYNAMIC = 5 | SMOOTH
GROUND = 6 | GRAIN
ROAD = 7 | GRAIN
SIDEWALK = 8 | GRAIN
PARKING = 9 | GRAIN
RAIL_TRACK = 10 | GRAIN
BUILDING = 11 | MASONRY
WALL = 12 | MASONRY
FENCE = 13 | SMOOTH
GUARD_RAIL = 14 | SMOOTH
POLE = 17 | SMOOTH
TRAFFIC_LIGHT = 19 | SMOOTH
TRAFFIC_SIGN = 20 | SMOOTH
VEGETATION = 21 | FOLIAGE
TERRAIN = 22 | FOLIAGE
SKY = 23 | SMOOTH
PERSON = 24 | SMOOTH
RIDER = 25 | SMOOTH
CAR = 26 | SMOOTH
TRUCK = 27 | SMOOTH
BUS = 28 | SMOOTH
TRAIN = 31 | SMOOTH
MOTORCYCLE = 32 | SMOOTH
BICYCLE = 33 | SMOOTH
