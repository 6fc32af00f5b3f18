"""From typed options to objects: composing, checking, building."""
