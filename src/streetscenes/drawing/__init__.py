"""The canvas, the camera and its effects, light, shadows, solids and textures."""
