"""A recipe that trains a tiny network on synthetic squares in seconds."""

RECIPE = """
name = "squares"
title = "Squares"
gsd_m = 0.3
bands = ["red", "green", "blue"]
licence = "none"
attribution = "nobody"

[[classes]]
value = 1
name = "square"
color = "#ff0000"
outline = "squared"

[network]
bands = 3
classes = 2
widths = [8, 12, 16]
blocks = 1
detail = 8

[[sources]]
place = "Nowhere"
folder = "train"
files = "*"
gsd_m = 0.3
mask_values = [0, 1]

[validation]
name = "other squares"
folder = "validation"
gsd_m = 0.3
mask_values = [0, 1]

[augmentation]
scale = [0.8, 1.25]

[schedule]
steps = 30
batch = 4
chip_px = 64
learning_rate = 0.02
warmup_steps = 5
averaging = 0.8
validate_every = 15
precision = "32-true"
workers = 0
seed = 3
"""
