"""Uses of a trained model on given images: inpainting, image to image, and images of linear measurements."""
