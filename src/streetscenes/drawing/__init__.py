"""Canvas, camera and camera effects, light, shadows, solids and textures."""
