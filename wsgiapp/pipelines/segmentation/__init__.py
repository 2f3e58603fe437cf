"""Chinese word segmentation as jieba does it."""
