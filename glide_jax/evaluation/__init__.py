"""How good pictures are: metrics of pictures and captions, and what settings do to them."""
