"""`tfmed fit segmentation` beside nnU-Net v2: same cases, same split, same wall time on the same cores."""
