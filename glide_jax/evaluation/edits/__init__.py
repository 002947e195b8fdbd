"""What becomes of given pictures of Shapes: inpainted, enlarged, noised and drawn again."""
