"""Annotation files of polygons (COCO, LabelMe, YOLO, CVAT), as one normalized file per image."""
