"""The page: pictures from captions, and pictures from pictures, in a browser."""
